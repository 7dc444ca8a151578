"""Launches of gemv.cu: which template serves a shape, and how its arguments are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from realizar.errors import UnsupportedOp
from realizar.ops import ACTIVATIONS
from realizar_cuda.device import Device
from realizar_cuda.weights import CHUNKS, Weight

STORE, ADD, GATED = "STORE", "ADD", "GATED"

THREADS = {1: 512, 2: 512, 4: 256, 8: 256}
"""Threads of a block by tokens: `threads_of` of gemv.cu."""

MAX_TOKENS = 8
"""Tokens that one pass over the weights serves; more tokens take more passes, side by side."""

ROWS = {2: 2, 4: 4, 8: 4}
"""Rows that a warp works on at a time, by tokens: activations in shared memory are read once for all of them."""

MAX_STEPS = 64
"""Chunks a lane of a row up to which the width is a constant of the kernel."""


@attrs.frozen
class Target:
    """A matrix and where its product goes: bias and out are addresses, 0 for no bias."""

    weight: Weight
    out: int
    bias: int = 0


@attrs.frozen
class Shape:
    """How a product of some tokens with rows of some width is launched.

    chunks: of a row, if constant in the kernel. passes: groups of `tokens` tokens, in the grid's second dimension.
    rows: that a warp works on at a time. depth: chunks of each row that a lane has in flight.
    """

    kind: str
    chunks: int
    tokens: int
    passes: int
    rows: int
    depth: int
    shared_nbytes: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return THREADS[self.tokens]

    def name(self, epilogue: str) -> str:
        """The kernel's name in C++."""
        return f"gemv<{self.kind}, {self.chunks}, {self.tokens}, {self.rows}, {self.depth}, {epilogue}>"


def matrices(targets: Sequence[Target]) -> list[Any]:
    """Three of the C++ structure `Matrix`, those beyond the targets empty."""
    values: list[Any] = []
    for target in targets:
        values += (*target.weight.pointers(), target.bias, target.out, target.weight.rows, 0)
    return values + [0] * (8 * (3 - len(targets)))


def staged_nbytes(weight: Weight) -> int:
    """Shared memory for one token's activations: 48 bytes for 32 of 8 bits with their scales, or floats."""
    return weight.chunks * (48 if weight.is_quantized else 4 * CHUNKS[weight.kind])


def shape_of(weight: Weight, num_tokens: int, num_rows: int, shared_nbytes: int, num_processors: int) -> Shape:
    """The launch for `num_tokens` tokens and `num_rows` rows of all matrices.

    Raises UnsupportedOp if not even one token fits into shared memory.
    """
    nbytes = staged_nbytes(weight)
    if nbytes > shared_nbytes:
        raise UnsupportedOp(
            f"backend 'cuda': rows of {weight.width} {weight.kind} need {nbytes} bytes of shared memory a token; "
            f"this GPU gives a block {shared_nbytes}"
        )
    tokens = 1
    while tokens < min(num_tokens, MAX_TOKENS) and 2 * tokens * nbytes <= shared_nbytes:
        tokens *= 2
    steps, rest = divmod(weight.chunks, 32)
    constant = weight.chunks if rest == 0 and steps <= MAX_STEPS else 0
    rows, depth = (ROWS[tokens], 2) if tokens > 1 else _rows_and_depth(weight, num_rows, steps, num_processors)
    return Shape(weight.kind, constant, tokens, -(-num_tokens // tokens), rows, depth, tokens * nbytes)


def _rows_and_depth(weight: Weight, num_rows: int, steps: int, num_processors: int) -> tuple[int, int]:
    """For one token: two rows a warp, or one where that keeps more warps busy with as much in flight."""
    most = 4 if weight.is_quantized else 8
    warps = num_processors * THREADS[1] // 32
    busy = {rows: _share(-(-num_rows // rows), warps) for rows in (1, 2)}
    divides = max(depth for depth in range(1, most + 1) if max(1, steps) % depth == 0)
    return (1, 2 * most) if busy[1] > busy[2] + 0.05 and divides == most else (2, most)


def _share(tasks: int, warps: int) -> float:
    """How much of the warps' time has a task, if all tasks take the same."""
    return tasks / (-(-tasks // warps) * warps)


class Gemv:
    """Launches on one device."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def run(
        self, x: int, num_tokens: int, targets: Sequence[Target], epilogue: str = STORE, *, norm: int = 0,
        eps: float = 0.0, kind: str = ACTIVATIONS[0],
    ) -> None:  # fmt: skip
        """Products of x [num_tokens, width] with up to three matrices of one type and width.

        GATED takes gate and up and gives activation(gate) * up in the first target's out.
        norm: address of factors, for x to be normed first; 0 for x as it is.
        """
        shape = self._shape(targets, num_tokens, epilogue)
        self._launch(shape, epilogue, targets, (x, norm, 0), (num_tokens, ACTIVATIONS.index(kind), 1), eps)

    def run_experts(
        self, x: int, num_pairs: int, slots: int, experts: int, targets: Sequence[Target], epilogue: str = STORE, *,
        kind: str = ACTIVATIONS[0],
    ) -> None:  # fmt: skip
        """Row p of the output from row p // slots of x and matrix experts[p] of the stack; experts: an address."""
        shape = attrs.evolve(self._shape(targets, 1, epilogue), passes=num_pairs)
        counts = (-(-num_pairs // slots), ACTIVATIONS.index(kind), slots)
        self._launch(shape, epilogue, targets, (x, 0, experts), counts, 0.0)

    def _shape(self, targets: Sequence[Target], num_tokens: int, epilogue: str) -> Shape:
        num_rows = sum(target.weight.rows for target in targets)
        device = self._device
        shape = shape_of(targets[0].weight, num_tokens, num_rows, device.shared_nbytes, device.num_processors)
        return (
            attrs.evolve(shape, rows=2, depth=min(shape.depth, 4)) if epilogue == GATED and shape.rows == 1 else shape
        )

    def _launch(
        self, shape: Shape, epilogue: str, targets: Sequence[Target], addresses: tuple[int, int, int],
        counts: tuple[int, int, int], eps: float,
    ) -> None:  # fmt: skip
        values = matrices(targets)
        weight = targets[0].weight
        tokens, kind, slots = counts
        stride, parts = (shape.rows // 2, targets[:1]) if epilogue == GATED else (shape.rows, targets)
        tasks = sum(-(-target.weight.rows // stride) for target in parts)
        values += (*addresses, tokens, weight.width, weight.chunks, tasks, kind, slots, eps, 0)
        per_processor = 2 if shape.threads == 256 and 2 * shape.shared_nbytes <= self._device.shared_nbytes else 1
        blocks = min(-(-tasks // (shape.threads // 32)), self._device.num_processors * per_processor)
        self._device.launch(shape.name(epilogue), (blocks, shape.passes, 1), shape.threads, values, shape.shared_nbytes)
