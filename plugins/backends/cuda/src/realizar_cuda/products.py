"""Products of few tokens with weights as they are stored: one token by gemv.cu, some by tile_product.cu.

One token meets quantized weights with activations of 8 bits, several with halves on tensor cores: each is as fast as
memory brings the weights. F32 has no place on tensor cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from realizar.ops import ACTIVATIONS
from realizar_cuda.device import Device
from realizar_cuda.gemv import GATED, STORE, Gemv, Target, matrices

TILE_ROWS, SPAN, MAX_TILE_TOKENS = 16, 128, 64
SHARED_ELEMENTS, PADDING = 2048, 16
"""Of tile_product.cu: elements of activations in shared memory, twice, by tiles of tokens; room between tokens."""


@attrs.frozen
class Tiling:
    """A launch of tile_product.cu. token_tiles: of 8 tokens. row_warps: warps of a block with rows of their own."""

    token_tiles: int
    row_warps: int
    is_gated: bool

    @property
    def shared_nbytes(self) -> int:
        """Activations of all tokens for as many elements as fit."""
        unit = SPAN * (8 // self.row_warps) * (2 if self.token_tiles < 8 and not self.is_gated else 1)
        slab = max(unit, SHARED_ELEMENTS // self.token_tiles)
        return 2 * 2 * 8 * self.token_tiles * (slab + PADDING)


def tiling_of(num_tokens: int, num_tiles: int, is_gated: bool, num_processors: int) -> Tiling:
    """Tiles for so many tokens and tiles of 16 rows.

    More warps on different rows share activations, of which there are more with more tokens; but that leaves fewer
    blocks, of which a processor holds two, or one with 64 tokens. The factors are what was fastest on an H100.
    """
    token_tiles = 1
    while 8 * token_tiles < min(num_tokens, MAX_TILE_TOKENS):
        token_tiles *= 2
    enough = num_processors * (0.8 if token_tiles == 8 else 1.6)
    row_warps = next((n for n in (8, 4) if n <= token_tiles and num_tiles >= n * enough), 2)
    return Tiling(token_tiles, row_warps, is_gated)


class Products:
    """Launches on one device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.gemv = Gemv(device)

    def run(
        self, x: int, num_tokens: int, targets: Sequence[Target], epilogue: str = STORE, *, norm: int = 0,
        eps: float = 0.0, kind: str = ACTIVATIONS[0],
    ) -> None:  # fmt: skip
        """Products of x [num_tokens, width] with up to three matrices of one type and width.

        GATED takes gate and up and gives activation(gate) * up in the first target's out.
        norm: address of factors, for x to be normed first; 0 for x as it is.
        """
        if num_tokens == 1 or targets[0].weight.kind == "F32":
            self.gemv.run(x, num_tokens, targets, epilogue, norm=norm, eps=eps, kind=kind)
        else:
            self._run_tiles(self._staged(x, num_tokens, targets[0], norm, eps), num_tokens, targets, epilogue, kind)

    def _staged(self, x: int, num_tokens: int, target: Target, norm: int, eps: float) -> tuple[int, int, int]:
        """Addresses of activations in the order of tiles and of their exponents, and the width with padding."""
        width = target.weight.width
        padded = -(-width // SPAN) * SPAN
        rows = self._device.scratch("tile rows", 2 * num_tokens * padded)
        exponents = self._device.scratch("tile exponents", 4 * num_tokens)
        self._device.launch("tile_rows", (num_tokens,), 1024, (x, norm, rows, exponents, width, padded, eps))
        return rows, exponents, padded

    def _run_tiles(
        self, staged: tuple[int, int, int], num_tokens: int, targets: Sequence[Target], epilogue: str, kind: str
    ) -> None:
        parts = targets[:1] if epilogue == GATED else targets
        tiles = sum(-(-target.weight.rows // TILE_ROWS) for target in parts)
        tiling = tiling_of(num_tokens, tiles, epilogue == GATED, self._device.num_processors)
        rows, exponents, padded = staged
        weight = targets[0].weight
        values: list[Any] = matrices(targets)
        values += (rows, exponents, num_tokens, padded, weight.chunks, tiles, ACTIVATIONS.index(kind), 0)
        name = f"tile_product<{weight.kind}, {tiling.token_tiles}, {tiling.row_warps}, {epilogue}>"
        grid = (-(-tiles // tiling.row_warps), -(-num_tokens // (8 * tiling.token_tiles)))
        self._device.launch(name, grid, 256, values, tiling.shared_nbytes)
