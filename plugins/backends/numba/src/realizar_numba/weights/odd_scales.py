"""Scales of the IQ1, IQ2 and IQ3 types: a float16 d times an odd number 2 s + 1, times a power of two.

The classes have the methods that `realizar_numba.weights.scales` describes. `read(block, k)` gives an s of 4 bits in
the file, `d(block)` the bits of d, `factor` the power of two. Products of the three are exact in float32.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from realizar_numba.simd.floating import fma, mul, splat_f32, to_f32
from realizar_numba.simd.integer import high_nibbles_i32, low_nibbles_i32, nibble_i32, widen_u8
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import load_f16, load_i8x16, load_i16, load_u8, store_i16, store_u8
from realizar_numba.weights.scales import build_add_halves, build_add_products, load_scales


@compiled
def first_half(block):
    """d as the first two bytes of the block."""
    return load_i16(block)


def _build_load(d_offset: int, factor: float) -> Any:
    """load(header): 2 factor d and factor d."""
    once = np.float32(factor)

    @compiled
    def load(header):
        d = load_scales(header + d_offset)
        return mul(d, splat_f32(once + once)), mul(d, splat_f32(once))

    return load


def _build_value(d_offset: int, factor: float) -> Any:
    """value(header, row, s, q)."""

    @compiled
    def value(header, row, s, q):
        return load_f16(header + d_offset + 2 * row) * np.float32(factor * (2 * s + 1)) * np.float32(q)

    return value


@attrs.frozen
class OddScales:
    """factor d (2 s + 1) q: s for 32 columns. Header: [4][16 rows] s of blocks i and i + 4, 16 d, 32 bytes unused."""

    read: Any
    factor: float
    d: Any = first_half
    columns, nbytes, halves = 256, 64 + 64, 1

    def build_write(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        read, d = self.read, self.d

        @compiled
        def write(block, s, header, i, row):
            if i < 4:
                store_u8(header + 16 * i + row, np.uint8(read(block, s) | read(block, s + 4) << 4))
            store_i16(header + 64 + 2 * row, d(block))

        return write

    def build_value(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        odd = _build_value(64, self.factor)

        @compiled
        def value(header, i, row, column, q):
            return odd(header, row, np.int64(load_u8(header + 16 * (i % 4) + row)) >> (4 * (i // 4)) & 15, q)

        return value

    def build_load(self) -> Any:
        """2 factor d and factor d."""
        return _build_load(64, self.factor)

    def build_add(self, lanes: int) -> Any:
        """See `realizar_numba.weights.scales`."""
        add_products = build_add_products(lanes)

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            twice, once = loaded
            s = nibble_i32(widen_u8(load_i8x16(header + 16 * (i % 4))), i // 4)
            add_products(products, fma(to_f32(s), twice, once), x, sums)

        return add_block


@attrs.frozen
class OddHalfScales:
    """factor d (2 s + 1) q: s for 16 columns. Header: [8][16 rows] s of both halves, 16 d, 32 bytes unused."""

    read: Any
    factor: float
    d: Any = first_half
    columns, nbytes, halves = 256, 128 + 64, 2

    def build_write(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        read, d = self.read, self.d

        @compiled
        def write(block, s, header, i, row):
            store_u8(header + 16 * i + row, np.uint8(read(block, 2 * s) | read(block, 2 * s + 1) << 4))
            store_i16(header + 128 + 2 * row, d(block))

        return write

    def build_value(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        odd = _build_value(128, self.factor)

        @compiled
        def value(header, i, row, column, q):
            return odd(header, row, np.int64(load_u8(header + 16 * i + row)) >> (4 * (column // 16)) & 15, q)

        return value

    def build_load(self) -> Any:
        """2 factor d and factor d."""
        return _build_load(128, self.factor)

    def build_add(self, lanes: int) -> Any:
        """See `realizar_numba.weights.scales`."""
        add_halves = build_add_halves(lanes)

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            twice, once = loaded
            both = widen_u8(load_i8x16(header + 16 * i))
            first = fma(to_f32(low_nibbles_i32(both)), twice, once)
            last = fma(to_f32(high_nibbles_i32(both)), twice, once)
            add_halves(products, first, last, x, sums)

        return add_block
