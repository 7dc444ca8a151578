"""Q5_1: blocks of 32, d * q + m. File block: d f16, m f16, 4 bytes of fifth bits, 16 of nibbles (ggml `block_q5_1`).

Group: per block 256 bytes of nibbles, 64 of fifth bits (bit s belongs to columns 4s..4s+3), 16 d, 16 m; 384 bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from realizar_numba.activations import BLOCK_NBYTES, LANE_NBYTES, SCALE, SCALED_SUM
from realizar_numba.simd.floating import fma, from_f16, mul, to_f32
from realizar_numba.simd.integer import bit_or, bit_to_16, high_nibbles, low_nibbles
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import (
    broadcast_4xi8,
    broadcast_f32,
    load_f16,
    load_f16x16,
    load_i8x64,
    load_u8,
    prefetch,
)
from realizar_numba.simd.types import get, i32x16, put, registers
from realizar_numba.weights.packing import PREFETCH, interleave_bits, interleave_halves, interleave_words

_FILE_BLOCK = 24
_BLOCK = 384


def group_nbytes(columns: int) -> int:
    """Bytes of 16 rows."""
    return columns // 32 * _BLOCK


@compiled
def pack_group(source, row_nbytes, rows, columns, destination):
    """See `realizar_numba.weights`."""
    for b in range(columns // 32):
        block, packed = source + b * _FILE_BLOCK, destination + b * _BLOCK
        interleave_words(block + 8, row_nbytes, rows, 4, packed)
        interleave_bits(block + 4, row_nbytes, rows, packed + 256)
        interleave_halves(block, row_nbytes, rows, packed + 320)
        interleave_halves(block + 2, row_nbytes, rows, packed + 352)


@compiled
def value(group, row, column):
    """See `realizar_numba.weights`."""
    block, c = group + column // 32 * _BLOCK, column % 32
    byte = load_u8(block + 64 * (c % 16 // 4) + 4 * row + c % 4)
    top = load_u8(block + 256 + 4 * row + c % 4) >> (c // 4) & 1
    q = np.int32(byte >> 4 if c >= 16 else byte & 15) + np.int32(top) * 16
    return load_f16(block + 320 + 2 * row) * np.float32(q) + load_f16(block + 352 + 2 * row)


def build_tile(lanes: int, dot: Any) -> Any:
    """See `realizar_numba.weights`."""
    new_sums = registers(i32x16, lanes)

    @compiled
    def tile(weights, x, columns, sums):
        for _ in range(columns // 32):
            products = new_sums()
            top = load_i8x64(weights + 256)
            if lanes == 1:
                prefetch(weights + 256 + PREFETCH)
            for j in range(4):
                nibbles = load_i8x64(weights + 64 * j)
                low = bit_or(low_nibbles(nibbles), bit_to_16(top, j))
                high = bit_or(high_nibbles(nibbles), bit_to_16(top, j + 4))
                if lanes == 1:
                    prefetch(weights + 64 * j + PREFETCH)
                for t in range(lanes):
                    p = x + LANE_NBYTES * t + 4 * j
                    partial = dot(get(products, t), low, broadcast_4xi8(p))
                    put(products, t, dot(partial, high, broadcast_4xi8(p + 16)))
            if lanes == 1:
                prefetch(weights + 320 + PREFETCH)
            d, m = from_f16(load_f16x16(weights + 320)), from_f16(load_f16x16(weights + 352))
            for t in range(lanes):
                p = x + LANE_NBYTES * t
                total = fma(to_f32(get(products, t)), mul(d, broadcast_f32(p + SCALE)), get(sums, t))
                put(sums, t, fma(m, broadcast_f32(p + SCALED_SUM), total))
            weights += _BLOCK
            x += BLOCK_NBYTES

    return tile
