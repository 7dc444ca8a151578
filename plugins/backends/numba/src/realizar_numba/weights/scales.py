"""The float half of quantized kernels: how a block's integer products become part of the sums.

A layout is cut into super-blocks of `columns` columns: a header of `nbytes` bytes with the scales of 16 rows, then
the codes, block after block. Each class gives

    write(block, s, header, i, row)               the scales of one row of block i of a super-block, which is sub-block
                                                  s of the file's block at `block`
    value(header, i, row, column, q)              the weight of code q (less its bias), bit for bit the reference's
    load(header)                                  vectors that serve all blocks of a super-block
    add(products, loaded, header, i, x, sums)     sums += scale of the weights * scale of the activations * products
                                                  (+ minimum * sum of the activations), for each lane

`halves` is 2 where 16 columns share a scale: then each lane has two products, of the first and the last 16 columns.
"""

from __future__ import annotations

from typing import Any, Protocol

import attrs
import numpy as np

from realizar_numba.activations import BLOCK_SIZE, LANE_NBYTES, SCALE, SCALED_SUM
from realizar_numba.simd.floating import fma, from_f16, mul, to_f32
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import (
    broadcast_f32,
    load_f16,
    load_f16x16,
    load_i16,
    store_i16,
)
from realizar_numba.simd.types import get, put


@compiled
def header_itself(header):
    """Nothing serves more than one block."""
    return header


@compiled
def load_scales(address):
    """16 float16 scales."""
    return from_f16(load_f16x16(address))


def build_add_products(lanes: int) -> Any:
    """sums += scale * (scale of x) * products."""

    @compiled
    def add_products(products, scale, x, sums):
        for t in range(lanes):
            both = mul(scale, broadcast_f32(x + LANE_NBYTES * t + SCALE))
            put(sums, t, fma(to_f32(get(products, t)), both, get(sums, t)))

    return add_products


def build_add_minimum(lanes: int) -> Any:
    """sums += minimum * (sum of x)."""

    @compiled
    def add_minimum(minimum, x, sums):
        for t in range(lanes):
            put(sums, t, fma(minimum, broadcast_f32(x + LANE_NBYTES * t + SCALED_SUM), get(sums, t)))

    return add_minimum


def build_add_halves(lanes: int) -> Any:
    """sums += (scale of x) * (first * product of the first half + last * product of the last half)."""

    @compiled
    def add_halves(products, first, last, x, sums):
        for t in range(lanes):
            total = mul(to_f32(get(products, 2 * t)), first)
            total = fma(to_f32(get(products, 2 * t + 1)), last, total)
            put(sums, t, fma(total, broadcast_f32(x + LANE_NBYTES * t + SCALE), get(sums, t)))

    return add_halves


@attrs.frozen
class BlockScale:
    """d q: a float16 d, at `d_offset` in blocks of `size` columns. Super-blocks of two, so that codes stay aligned."""

    size: int = 32
    d_offset: int = 0
    nbytes, halves = 64, 1

    @property
    def columns(self) -> int:
        """Columns of two blocks."""
        return 2 * self.size

    def build_write(self) -> Any:
        """See the module."""
        per_scale, d_offset = self.size // BLOCK_SIZE, self.d_offset

        @compiled
        def write(block, s, header, i, row):
            store_i16(header + 32 * (i // per_scale) + 2 * row, load_i16(block + d_offset))

        return write

    def build_value(self) -> Any:
        """See the module."""
        per_scale = self.size // BLOCK_SIZE

        @compiled
        def value(header, i, row, column, q):
            return load_f16(header + 32 * (i // per_scale) + 2 * row) * np.float32(q)

        return value

    def build_load(self) -> Any:
        """See the module."""
        return header_itself

    def build_add(self, lanes: int) -> Any:
        """See the module."""
        add_products, per_scale = build_add_products(lanes), self.size // BLOCK_SIZE

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            add_products(products, load_scales(header + 32 * (i // per_scale)), x, sums)

        return add_block


@attrs.frozen
class BlockScaleAndMinimum:
    """d q + m: float16 d and m at the start of each block of 32."""

    columns, nbytes, halves = 32, 64, 1

    def build_write(self) -> Any:
        """See the module."""

        @compiled
        def write(block, s, header, i, row):
            store_i16(header + 2 * row, load_i16(block))
            store_i16(header + 32 + 2 * row, load_i16(block + 2))

        return write

    def build_value(self) -> Any:
        """See the module."""

        @compiled
        def value(header, i, row, column, q):
            return load_f16(header + 2 * row) * np.float32(q) + load_f16(header + 32 + 2 * row)

        return value

    def build_load(self) -> Any:
        """See the module."""
        return header_itself

    def build_add(self, lanes: int) -> Any:
        """See the module."""
        add_products, add_minimum = build_add_products(lanes), build_add_minimum(lanes)

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            add_products(products, load_scales(header), x, sums)
            add_minimum(load_scales(header + 32), x, sums)

        return add_block


class Scales(Protocol):
    """What an integer layout asks of its scales; see the module."""

    @property
    def columns(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    @property
    def halves(self) -> int: ...

    def build_write(self) -> Any: ...

    def build_value(self) -> Any: ...

    def build_load(self) -> Any: ...

    def build_add(self, lanes: int) -> Any: ...
