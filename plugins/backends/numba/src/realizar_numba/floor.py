"""What this machine can do at best: reading memory, and dot products of bytes that never leave the registers.

Both are phases on the backend's own threads, so that a fraction of them compares like with like.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realizar.backend import Floor
from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import address, aligned_zeros
from realizar_numba.pool import ThreadPool
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.integer import add_i32
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import load_i8x64, load_i32x16, store
from realizar_numba.simd.targets import TARGETS
from realizar_numba.simd.types import get, i32x16, put, registers

PASSES = 5
STREAM_NBYTES = 1 << 30
DOT_ROUNDS = 4_000_000
MOST_CHAINS = 12


STREAM = record("data", "nbytes", "sums")
"""nbytes: whole units of `_UNIT_NBYTES`. sums: 64 bytes for each thread."""

DOT = record("operands", "rounds", "sums")
"""operands: unsigned bytes, what is added to them each round, then signed bytes for each chain; 64 of each."""

_VECTOR_NBYTES, _UNIT_VECTORS = 64, 4
_UNIT_NBYTES = _VECTOR_NBYTES * _UNIT_VECTORS

_read_stream, _read_dot = reader(STREAM), reader(DOT)


def measure_floor(kernels: Kernels, pool: ThreadPool) -> Floor:
    """Five passes over 1 GiB, and five of some ten milliseconds in registers."""
    data = aligned_zeros(STREAM_NBYTES)
    data.fill(1)  # untouched pages would all be one page of zeros, and in the cache
    reading = [stream(kernels, pool, data)[0] for _ in range(PASSES)]
    del data
    operands = _operands()
    dots = [dot(kernels, pool, operands, DOT_ROUNDS)[0] for _ in range(PASSES)]
    operations = 2 * _VECTOR_NBYTES * num_chains(kernels.isa) * DOT_ROUNDS * pool.num_threads
    return Floor(tuple(STREAM_NBYTES / s for s in reading), tuple(operations / s for s in dots))


def stream(kernels: Kernels, pool: ThreadPool, data: NDArray[np.uint8]) -> tuple[float, NDArray[np.int32]]:
    """Read all bytes once; seconds, and the wrapped sum of their int32 by lane of 16, of each thread."""
    sums = np.zeros((pool.num_threads, 16), np.int32)
    arguments = fill(STREAM, data=address(data), nbytes=data.nbytes, sums=address(sums))
    seconds = _run(kernels, pool, kernels.address("streaming", build_stream), arguments)
    return seconds, sums


def dot(
    kernels: Kernels, pool: ThreadPool, operands: NDArray[np.uint8], rounds: int
) -> tuple[float, NDArray[np.int32]]:
    """Run `rounds` rounds of all chains on each thread; seconds, and each thread's wrapped sum by lane."""
    sums = np.zeros((pool.num_threads, 16), np.int32)
    arguments = fill(DOT, operands=address(operands), rounds=rounds, sums=address(sums))
    seconds = _run(kernels, pool, kernels.address("dot products", build_dot, kernels.isa), arguments)
    return seconds, sums


def _run(kernels: Kernels, pool: ThreadPool, function: int, arguments: NDArray[Any]) -> float:
    program = Program(kernels, pool.num_threads)
    program.append(function, arguments)
    table, num_tokens = program.table(), np.ones(1, np.int64)
    start = time.perf_counter()
    pool.run(table, address(num_tokens))
    return time.perf_counter() - start


def num_chains(isa: str) -> int:
    """Independent sums: enough for a dot product's latency, few enough to stay in registers with their operands."""
    return min(MOST_CHAINS, TARGETS[isa].vectors // 2)


def _operands() -> NDArray[np.uint8]:
    """Operands as DOT wants them; the signed ones hold no -128."""
    rng = np.random.default_rng(0)
    operands = aligned_zeros(_VECTOR_NBYTES * (2 + MOST_CHAINS))
    operands[:] = np.where(np.arange(operands.size) < 2 * _VECTOR_NBYTES, 1, rng.integers(1, 128, operands.size))
    return operands


def build_stream() -> Callable[..., Any]:
    """The phase of STREAM: each thread reads one range, 64 bytes a load."""
    accumulators = registers(i32x16, _UNIT_VECTORS)

    @whole
    def stream(thread, num_threads, arguments):
        a = _read_stream(arguments)
        units = a.nbytes // _UNIT_NBYTES
        sums = accumulators()
        for unit in range(units * thread // num_threads, units * (thread + 1) // num_threads):
            for v in range(_UNIT_VECTORS):
                put(sums, v, add_i32(get(sums, v), load_i32x16(a.data + _UNIT_NBYTES * unit + _VECTOR_NBYTES * v)))
        total = get(sums, 0)
        for v in range(1, _UNIT_VECTORS):
            total = add_i32(total, get(sums, v))
        store(a.sums + _VECTOR_NBYTES * thread, total)

    return stream


def build_dot(isa: str) -> Callable[..., Any]:
    """The phase of DOT; its unsigned bytes change every round, so that no product can be taken out of the loop.

    Accumulators of 16 bits overflow, which costs no time; within their range the sums are right.
    """
    target = TARGETS[isa]
    dot_product, widened = target.dot, target.widen or _same
    chains = num_chains(isa)
    accumulators = registers(target.accumulator, chains)

    @whole
    def dot(thread, num_threads, arguments):
        a = _read_dot(arguments)
        sums = accumulators()
        unsigned, step = load_i8x64(a.operands), load_i8x64(a.operands + _VECTOR_NBYTES)
        for _ in range(a.rounds):
            for c in range(chains):
                signed = load_i8x64(a.operands + _VECTOR_NBYTES * (2 + c))
                put(sums, c, dot_product(get(sums, c), unsigned, signed))
            unsigned = add_i32(unsigned, step)
        total = widened(get(sums, 0))
        for c in range(1, chains):
            total = add_i32(total, widened(get(sums, c)))
        store(a.sums + _VECTOR_NBYTES * thread, total)

    return dot


@compiled
def _same(sums):
    """Sums that are int32 already."""
    return sums
