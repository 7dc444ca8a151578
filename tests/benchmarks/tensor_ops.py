"""Matrix times vector and matrix times matrix of every weight type, beside what the machine allows."""

from __future__ import annotations

import numpy as np
from suite import parser
from timing import Work, medians, print_table

from realizar.backend import Backend, BackendOptions
from realizar.dtypes import DType, dtype
from realizar.selection import choose_backend
from realizar.tensors import LazyTensor
from realizar.testing.models import memory_tensor, random_weights

TYPES = "Q4_0,Q4_1,Q5_0,Q5_1,Q8_0,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS,IQ3_S,IQ2_S,TQ2_0,MXFP4,F16,BF16,F32"
DIFFERENT_ROWS = 256
HEADS = ["type", "GEMV GB/s", "of floor", "GEMM GOP/s", "of int8 peak"]


def main() -> None:
    """One row a type; with `--quick` no floor, which takes 1 GiB."""
    arguments = parser(__doc__, model=False)
    arguments.add_argument("--types", default=TYPES, help="comma-separated")
    arguments.add_argument("--threads", type=int, help="all cores by default")
    chosen = arguments.parse_args()
    backend = choose_backend(chosen.backend)[0](BackendOptions(threads=chosen.threads))
    sizes = (512, 1 << 18, 8) if chosen.quick else (4096, 1 << 27, 512)
    rounds = 1 if chosen.quick else chosen.rounds
    rows = [_row(backend, dtype(name), *sizes, rounds, not chosen.quick) for name in chosen.types.split(",")]
    print_table(f"Linear layers on {backend.name}", HEADS, rows)
    print("\n".join(backend.notes()))
    backend.close()


def _row(
    backend: Backend, element: DType, columns: int, nbytes: int, tokens: int, rounds: int, with_floor: bool
) -> list[str]:  # fmt: skip
    """GEMV over `nbytes` of weights, more than the caches hold; GEMM of `tokens` over at most a square of them."""
    long = _weights(element, max(1, nbytes // element.row_nbytes(columns) // DIFFERENT_ROWS), columns)
    square = _weights(element, max(1, columns // DIFFERENT_ROWS), columns)
    times = medians({"gemv": _linear(backend, long, 1), "gemm": _linear(backend, square, tokens)}, rounds)
    reading = long.nbytes / times["gemv"]
    computing = 2 * tokens * square.shape[0] * columns / times["gemm"]
    floor = backend.floor() if with_floor else None
    memory, peak = ("", "") if floor is None else (
        f"{reading / max(floor.bytes_per_s):.2f}", f"{computing / max(floor.int8_ops_per_s):.2f}"
    )  # fmt: skip
    return [element.name, f"{reading / 1e9:.1f}", memory, f"{computing / 1e9:.0f}", peak]


def _weights(element: DType, repeats: int, columns: int) -> LazyTensor:
    """Random rows, repeated: the machine cannot tell, and they are made quickly."""
    rows = random_weights((DIFFERENT_ROWS, columns), element, np.random.default_rng(0))
    return memory_tensor(element.name, np.tile(rows, (repeats, 1)), element)


def _linear(backend: Backend, tensor: LazyTensor, tokens: int) -> Work:
    """A call of the backend's `linear` on so many rows."""
    weight = backend.load(tensor, frozenset({"linear"}))
    x = np.random.default_rng(1).standard_normal((tokens, tensor.shape[1]), np.float32)
    out = np.zeros((tokens, tensor.shape[0]), np.float32)
    return lambda: backend.linear(x, weight, out=out)


if __name__ == "__main__":
    main()
