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

THREADS, WARPS = 256, 8
BLOCKS_PER_PROCESSOR = 2

MAX_TOKENS = 8
"""Tokens that one pass over the weights serves; more tokens take more passes, side by side."""

ROWS = {1: 2, 2: 2, 4: 4, 8: 4}
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
    """

    kind: str
    chunks: int
    tokens: int
    passes: int
    shared_nbytes: int

    def name(self, epilogue: str) -> str:
        """The kernel's name in C++."""
        depth = (8 if CHUNKS[self.kind] < 32 else 4) if self.tokens == 1 else 2
        return f"gemv<{self.kind}, {self.chunks}, {self.tokens}, {ROWS[self.tokens]}, {depth}, {epilogue}>"


def staged_nbytes(weight: Weight) -> int:
    """Shared memory for one token's activations: 48 bytes for 32 of 8 bits with their scales, or floats."""
    return weight.chunks * (48 if weight.is_quantized else 4 * CHUNKS[weight.kind])


def shape_of(weight: Weight, num_tokens: int, shared_nbytes: int) -> Shape:
    """The launch of `num_tokens` tokens; raises UnsupportedOp if not even one fits into shared memory."""
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
    return Shape(weight.kind, constant, tokens, -(-num_tokens // tokens), tokens * nbytes)


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
        weight = targets[0].weight
        shape = shape_of(weight, num_tokens, self._device.shared_nbytes)
        stride = ROWS[shape.tokens] // 2 if epilogue == GATED else ROWS[shape.tokens]
        parts = targets[:1] if epilogue == GATED else targets
        tasks = sum(-(-target.weight.rows // stride) for target in parts)
        self._launch(shape, epilogue, targets, (x, norm, 0), (num_tokens, tasks, ACTIVATIONS.index(kind), 1), eps)

    def run_experts(
        self, x: int, num_pairs: int, slots: int, experts: int, targets: Sequence[Target], epilogue: str = STORE, *,
        kind: str = ACTIVATIONS[0],
    ) -> None:  # fmt: skip
        """Row p of the output from row p // slots of x and matrix experts[p] of the stack; experts: an address."""
        weight = targets[0].weight
        one = shape_of(weight, 1, self._device.shared_nbytes)
        shape = attrs.evolve(one, passes=num_pairs)
        stride = ROWS[1] // 2 if epilogue == GATED else ROWS[1]
        tasks = -(-weight.rows // stride)
        counts = (-(-num_pairs // slots), tasks, ACTIVATIONS.index(kind), slots)
        self._launch(shape, epilogue, targets, (x, 0, experts), counts, 0.0)

    def _launch(
        self, shape: Shape, epilogue: str, targets: Sequence[Target], addresses: tuple[int, int, int],
        counts: tuple[int, int, int, int], eps: float,
    ) -> None:  # fmt: skip
        values: list[Any] = []
        for target in targets:
            values += (*target.weight.pointers(), target.bias, target.out, target.weight.rows, 0)
        values += [0] * (8 * (3 - len(targets)))
        weight = targets[0].weight
        tokens, tasks, kind, slots = counts
        values += (*addresses, tokens, weight.width, weight.chunks, tasks, kind, slots, eps, 0)
        per_processor = BLOCKS_PER_PROCESSOR if 2 * shape.shared_nbytes <= self._device.shared_nbytes else 1
        blocks = min(-(-tasks // WARPS), self._device.num_processors * per_processor)
        grid = (blocks, shape.passes, 1)
        self._device.launch(shape.name(epilogue), grid, THREADS, values, shape.shared_nbytes)
