"""Q5_K: super-blocks of 256 with 8 sub-blocks of 32, d * scale * q - dmin * minimum, q of 5 bits.

File block: d f16, dmin f16, 12 bytes of 6-bit scales and minimums, 32 of fifth bits (bit s of byte c: column c of
sub-block s), 128 of nibbles as in Q4_K (ggml `block_q5_K`).
Group: 4 x 512 bytes of nibbles, 512 of fifth bits, 8 x 16 scales, 8 x 16 minimums, 16 d, 16 dmin; 2880 bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from realizar_numba.activations import BLOCK_NBYTES, LANE_NBYTES
from realizar_numba.simd.floating import from_f16
from realizar_numba.simd.integer import bit_or, bit_to_16, high_nibbles, low_nibbles
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import (
    broadcast_4xi8,
    load_f16,
    load_f16x16,
    load_i8x64,
    load_u8,
    prefetch,
)
from realizar_numba.simd.types import get, i32x16, put, registers
from realizar_numba.weights.packing import PREFETCH, interleave_halves, interleave_words
from realizar_numba.weights.scales_k import build_add_sub_block, pack_scales

_FILE_BLOCK = 176
_TOP = 2048
_SCALES = 2560
_MINIMUMS = _SCALES + 128
_D = _MINIMUMS + 128
_BLOCK = _D + 64


def group_nbytes(columns: int) -> int:
    """Bytes of 16 rows."""
    return columns // 256 * _BLOCK


@compiled
def pack_group(source, row_nbytes, rows, columns, destination):
    """See `realizar_numba.weights`."""
    for b in range(columns // 256):
        block, packed = source + b * _FILE_BLOCK, destination + b * _BLOCK
        interleave_words(block + 48, row_nbytes, rows, 32, packed)
        interleave_words(block + 16, row_nbytes, rows, 8, packed + _TOP)
        pack_scales(block + 4, row_nbytes, rows, packed + _SCALES, packed + _MINIMUMS)
        interleave_halves(block, row_nbytes, rows, packed + _D)
        interleave_halves(block + 2, row_nbytes, rows, packed + _D + 32)


@compiled
def value(group, row, column):
    """See `realizar_numba.weights`."""
    block, c = group + column // 256 * _BLOCK, column % 256
    sub_block = c // 32
    byte = load_u8(block + 512 * (c // 64) + 64 * (c % 32 // 4) + 4 * row + c % 4)
    q = np.int32(byte >> 4 if sub_block % 2 else byte & 15)
    top = load_u8(block + _TOP + 64 * (c % 32 // 4) + 4 * row + c % 4) >> sub_block & 1
    q += np.int32(top) * 16
    scale = load_f16(block + _D + 2 * row) * np.float32(load_u8(block + _SCALES + 16 * sub_block + row))
    offset = load_f16(block + _D + 32 + 2 * row) * np.float32(load_u8(block + _MINIMUMS + 16 * sub_block + row))
    return scale * np.float32(q) - offset


def build_tile(lanes: int, dot: Any) -> Any:
    """See `realizar_numba.weights`."""
    new_sums, add_sub_block = registers(i32x16, lanes), build_add_sub_block(lanes)

    @compiled
    def tile(weights, x, columns, sums):
        for _ in range(columns // 256):
            d, dmin = from_f16(load_f16x16(weights + _D)), from_f16(load_f16x16(weights + _D + 32))
            for i in range(4):
                low_products, high_products = new_sums(), new_sums()
                for j in range(8):
                    nibbles = load_i8x64(weights + 512 * i + 64 * j)
                    low, high = low_nibbles(nibbles), high_nibbles(nibbles)
                    top = load_i8x64(weights + _TOP + 64 * j)
                    low, high = bit_or(low, bit_to_16(top, 2 * i)), bit_or(high, bit_to_16(top, 2 * i + 1))
                    if lanes == 1:
                        prefetch(weights + 512 * i + 64 * j + PREFETCH)
                    for t in range(lanes):
                        p = x + LANE_NBYTES * t + 4 * j
                        put(low_products, t, dot(get(low_products, t), low, broadcast_4xi8(p)))
                        put(high_products, t, dot(get(high_products, t), high, broadcast_4xi8(p + BLOCK_NBYTES)))
                scales = weights + _SCALES + 32 * i
                add_sub_block(low_products, scales, d, dmin, x, sums)
                add_sub_block(high_products, scales + 16, d, dmin, x + BLOCK_NBYTES, sums)
                x += 2 * BLOCK_NBYTES
            if lanes == 1:
                for i in range(13):
                    prefetch(weights + 2048 + 64 * i + PREFETCH)
            weights += _BLOCK

    return tile
