"""Scales that are floats of one byte: E8M0 (MXFP4) and unsigned E4M3 (NVFP4).

The classes have the methods that `realizar_numba.weights.scales` describes.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from realizar_numba.simd.floating import half_e4m3, half_e8m0
from realizar_numba.simd.integer import widen_u8
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import load_i8x16, load_u8, store_u8
from realizar_numba.weights.scales import build_add_halves, build_add_products, header_itself


@attrs.frozen
class PowerOfTwo:
    """2^(e - 128) q: a byte e at the start of each block of 32 (E8M0, and the half that doubled E2M1 codes carry)."""

    columns, nbytes, halves = 128, 64, 1

    def build_write(self) -> Any:
        """See `realizar_numba.weights.scales`."""

        @compiled
        def write(block, s, header, i, row):
            store_u8(header + 16 * i + row, load_u8(block))

        return write

    def build_value(self) -> Any:
        """See `realizar_numba.weights.scales`."""

        @compiled
        def value(header, i, row, column, q):
            return np.float32(2.0 ** (np.float64(load_u8(header + 16 * i + row)) - 128.0)) * np.float32(q)

        return value

    def build_load(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        return header_itself

    def build_add(self, lanes: int) -> Any:
        """See `realizar_numba.weights.scales`."""
        add_products = build_add_products(lanes)

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            add_products(products, half_e8m0(widen_u8(load_i8x16(header + 16 * i))), x, sums)

        return add_block


@attrs.frozen
class HalfE4M3:
    """v / 2 q: four unsigned E4M3 v, one for 16 columns (the half that doubled E2M1 codes carry). Header: [4][16 rows].

    As in ggml, 0x7F (NaN) in a file counts as zero, and the top bit is not read: 0xFF is 480.
    """

    columns, nbytes, halves = 64, 64, 2

    def build_write(self) -> Any:
        """See `realizar_numba.weights.scales`."""

        @compiled
        def write(block, s, header, i, row):
            for half in range(2):
                code = np.int64(load_u8(block + 2 * s + half))
                store_u8(header + 32 * i + 16 * half + row, np.uint8(0 if code == 0x7F else code & 0x7F))

        return write

    def build_value(self) -> Any:
        """See `realizar_numba.weights.scales`."""

        @compiled
        def value(header, i, row, column, q):
            code = np.int64(load_u8(header + 32 * i + 16 * (column // 16) + row))
            exponent, mantissa = code >> 3, code & 7
            if exponent == 0:
                return np.float32(mantissa * 2.0**-10) * np.float32(q)
            return np.float32((8 + mantissa) * 2.0 ** np.float64(exponent - 11)) * np.float32(q)

        return value

    def build_load(self) -> Any:
        """See `realizar_numba.weights.scales`."""
        return header_itself

    def build_add(self, lanes: int) -> Any:
        """See `realizar_numba.weights.scales`."""
        add_halves = build_add_halves(lanes)

        @compiled
        def add_block(products, loaded, header, i, x, sums):
            first, last = load_i8x16(header + 32 * i), load_i8x16(header + 32 * i + 16)
            add_halves(products, half_e4m3(first), half_e4m3(last), x, sums)

        return add_block
