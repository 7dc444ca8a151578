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

from realizar_numba.activations import LANE_NBYTES, SCALE, SCALED_SUM
from realizar_numba.simd.floating import fma, from_f16, half_e8m0, mul, to_f32
from realizar_numba.simd.integer import widen_u8
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import (
    broadcast_f32,
    load_f16,
    load_f16x16,
    load_i8x16,
    load_i16,
    load_u8,
    store_i16,
    store_u8,
)
from realizar_numba.simd.types import get, put


@compiled
def _header(header):
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


@attrs.frozen
class BlockScale:
    """d q: a float16 d at the start of each block of 32. Super-blocks of two, so that codes stay aligned."""

    columns, nbytes, halves = 64, 64, 1

    def build_write(self) -> Any:
        """See the module."""

        @compiled
        def write(block, s, header, i, row):
            store_i16(header + 32 * i + 2 * row, load_i16(block))

        return write

    def build_value(self) -> Any:
        """See the module."""

        @compiled
        def value(header, i, row, column, q):
            return load_f16(header + 32 * i + 2 * row) * np.float32(q)

        return value

    def build_load(self) -> Any:
        """See the module."""
        return _header

    def build_add(self, lanes: int) -> Any:
        """See the module."""
        add_products = build_add_products(lanes)

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            add_products(products, load_scales(header + 32 * i), x, sums)

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
        return _header

    def build_add(self, lanes: int) -> Any:
        """See the module."""
        add_products, add_minimum = build_add_products(lanes), build_add_minimum(lanes)

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            add_products(products, load_scales(header), x, sums)
            add_minimum(load_scales(header + 32), x, sums)

        return add_block


@attrs.frozen
class PowerOfTwo:
    """2^(e - 128) q: a byte e at the start of each block of 32 (E8M0, and the half that doubled E2M1 codes carry)."""

    columns, nbytes, halves = 128, 64, 1

    def build_write(self) -> Any:
        """See the module."""

        @compiled
        def write(block, s, header, i, row):
            store_u8(header + 16 * i + row, load_u8(block))

        return write

    def build_value(self) -> Any:
        """See the module."""

        @compiled
        def value(header, i, row, column, q):
            return np.float32(2.0 ** (np.float64(load_u8(header + 16 * i + row)) - 128.0)) * np.float32(q)

        return value

    def build_load(self) -> Any:
        """See the module."""
        return _header

    def build_add(self, lanes: int) -> Any:
        """See the module."""
        add_products = build_add_products(lanes)

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            add_products(products, half_e8m0(widen_u8(load_i8x16(header + 16 * i))), x, sums)

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
