"""Scales of ggml's super-blocks of 256: small integers for each block of 32 or 16 columns, times a float16.

The classes have the methods that `realizar_numba.weights.scales` describes.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from realizar_numba.activations import LANE_NBYTES, MINUS_HALF_SUM, SCALE, SCALED_SUM
from realizar_numba.simd.floating import add, fma, mul, negate, to_f32
from realizar_numba.simd.integer import high_nibbles_i32, low_nibbles_i32, widen_i8, widen_u8
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import (
    broadcast_f32,
    broadcast_i32,
    load_f16,
    load_i8,
    load_i8x16,
    load_i16,
    load_u8,
    store_i16,
    store_u8,
)
from realizar_numba.simd.types import get, put
from realizar_numba.weights.scales import build_add_halves, build_add_minimum, build_add_products, load_scales


def _build_load_d(offset: int) -> Any:
    """load(header): d."""

    @compiled
    def load(header):
        return load_scales(header + offset)

    return load


def _build_load_d_and_dmin(offset: int) -> Any:
    """load(header): d and -dmin."""

    @compiled
    def load(header):
        return load_scales(header + offset), negate(load_scales(header + offset + 32))

    return load


@attrs.frozen
class SubScales:
    """d s q: 8 signed s of one byte. Header: [8][16 rows] s, 16 d.

    read(block, s): the s of a sub-block in the file; d_offset: where the file's block has d.
    """

    read: Any
    d_offset: int
    columns, nbytes, halves = 256, 128 + 64, 1

    def build_write(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        read, d_offset = self.read, self.d_offset

        @compiled
        def write(block, s, header, i, row):
            store_u8(header + 16 * i + row, np.uint8(read(block, s)))
            store_i16(header + 128 + 2 * row, load_i16(block + d_offset))

        return write

    def build_value(self) -> Any:
        """See `realizar_numba.weights.scales`."""

        @compiled
        def value(header, i, row, column, q):
            scale = load_f16(header + 128 + 2 * row) * np.float32(load_i8(header + 16 * i + row))
            return scale * np.float32(q)

        return value

    def build_load(self) -> Any:
        """d."""
        return _build_load_d(128)

    def build_add(self, lanes: int) -> Any:
        """See `realizar_numba.weights.scales`."""
        add_products = build_add_products(lanes)

        @compiled
        def add_block(products, d, header, i, x, sums):
            add_products(products, mul(d, to_f32(widen_i8(load_i8x16(header + 16 * i)))), x, sums)

        return add_block


@attrs.frozen
class SubScalesAndMinimums:
    """d s q - dmin m: 8 unsigned s and m of one byte. Header: [8][16 rows] s, the same of m, 16 d, 16 dmin.

    read(block, s): s + 256 m of a sub-block in the file, whose block starts with d and dmin.
    """

    read: Any
    columns, nbytes, halves = 256, 256 + 64, 1

    def build_write(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        read = self.read

        @compiled
        def write(block, s, header, i, row):
            both = read(block, s)
            store_u8(header + 16 * i + row, np.uint8(both & 255))
            store_u8(header + 128 + 16 * i + row, np.uint8(both >> 8))
            store_i16(header + 256 + 2 * row, load_i16(block))
            store_i16(header + 288 + 2 * row, load_i16(block + 2))

        return write

    def build_value(self) -> Any:
        """See `realizar_numba.weights.scales`."""

        @compiled
        def value(header, i, row, column, q):
            scale = load_f16(header + 256 + 2 * row) * np.float32(load_u8(header + 16 * i + row))
            minimum = load_f16(header + 288 + 2 * row) * np.float32(load_u8(header + 128 + 16 * i + row))
            return scale * np.float32(q) - minimum

        return value

    def build_load(self) -> Any:
        """d and -dmin."""
        return _build_load_d_and_dmin(256)

    def build_add(self, lanes: int) -> Any:
        """See `realizar_numba.weights.scales`."""
        add_products, add_minimum = build_add_products(lanes), build_add_minimum(lanes)

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            d, minus_dmin = loaded
            add_products(products, mul(d, to_f32(widen_u8(load_i8x16(header + 16 * i)))), x, sums)
            add_minimum(mul(minus_dmin, to_f32(widen_u8(load_i8x16(header + 128 + 16 * i)))), x, sums)

        return add_block


@attrs.frozen
class HalfScales:
    """d s q: 16 signed s of one byte, one for 16 columns. Header: [16][16 rows] s, 16 d.

    read(block, k): the s of a half in the file; d_offset: where the file's block has d.
    """

    read: Any
    d_offset: int
    columns, nbytes, halves = 256, 256 + 64, 2

    def build_write(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        read, d_offset = self.read, self.d_offset

        @compiled
        def write(block, s, header, i, row):
            for half in range(2):
                store_u8(header + 32 * i + 16 * half + row, np.uint8(read(block, 2 * s + half)))
            store_i16(header + 256 + 2 * row, load_i16(block + d_offset))

        return write

    def build_value(self) -> Any:
        """See `realizar_numba.weights.scales`."""

        @compiled
        def value(header, i, row, column, q):
            s = load_i8(header + 32 * i + 16 * (column // 16) + row)
            return load_f16(header + 256 + 2 * row) * np.float32(s) * np.float32(q)

        return value

    def build_load(self) -> Any:
        """d."""
        return _build_load_d(256)

    def build_add(self, lanes: int) -> Any:
        """See `realizar_numba.weights.scales`."""
        add_halves = build_add_halves(lanes)

        @compiled
        def add_block(products, d, header, i, x, sums):
            first = mul(d, to_f32(widen_i8(load_i8x16(header + 32 * i))))
            last = mul(d, to_f32(widen_i8(load_i8x16(header + 32 * i + 16))))
            add_halves(products, first, last, x, sums)

        return add_block


@attrs.frozen
class HalfScalesAndMinimums:
    """d s q - dmin m: 16 pairs of s and m of 4 bits. Header: [16][16 rows] s + 16 m, 16 d, 16 dmin.

    The file's block starts with the same bytes; d_offset: where it has d, and dmin behind it.
    """

    d_offset: int
    columns, nbytes, halves = 256, 256 + 64, 2

    def build_write(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        d_offset = self.d_offset

        @compiled
        def write(block, s, header, i, row):
            for half in range(2):
                store_u8(header + 32 * i + 16 * half + row, load_u8(block + 2 * s + half))
            store_i16(header + 256 + 2 * row, load_i16(block + d_offset))
            store_i16(header + 288 + 2 * row, load_i16(block + d_offset + 2))

        return write

    def build_value(self) -> Any:
        """See `realizar_numba.weights.scales`."""

        @compiled
        def value(header, i, row, column, q):
            both = load_u8(header + 32 * i + 16 * (column // 16) + row)
            scale = load_f16(header + 256 + 2 * row) * np.float32(both & 15)
            return scale * np.float32(q) - load_f16(header + 288 + 2 * row) * np.float32(both >> 4)

        return value

    def build_load(self) -> Any:
        """d and -dmin."""
        return _build_load_d_and_dmin(256)

    def build_add(self, lanes: int) -> Any:
        """See `realizar_numba.weights.scales`."""

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            d, minus_dmin = loaded
            first, last = widen_u8(load_i8x16(header + 32 * i)), widen_u8(load_i8x16(header + 32 * i + 16))
            first_scale, last_scale = to_f32(low_nibbles_i32(first)), to_f32(low_nibbles_i32(last))
            first_minimum = mul(minus_dmin, to_f32(high_nibbles_i32(first)))
            last_minimum = mul(minus_dmin, to_f32(high_nibbles_i32(last)))
            for t in range(lanes):
                p = x + LANE_NBYTES * t
                x_scale = broadcast_f32(p + SCALE)
                total = mul(to_f32(get(products, 2 * t)), first_scale)
                total = fma(to_f32(get(products, 2 * t + 1)), last_scale, total)
                value = fma(total, mul(d, x_scale), get(sums, t))
                minus_half_sum = mul(to_f32(broadcast_i32(p + MINUS_HALF_SUM)), x_scale)
                rest_sum = add(broadcast_f32(p + SCALED_SUM), minus_half_sum)
                put(sums, t, fma(last_minimum, rest_sum, fma(negate(first_minimum), minus_half_sum, value)))

        return add_block
