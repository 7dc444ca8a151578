"""Q6_K: super-blocks of 256 with 16 sub-blocks of 16, d * scale * (q - 32).

File block: 128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, d f16 (ggml `block_q6_K`). In each half
of 128 columns the four blocks of 32 are: low nibbles of bytes 0-31, of 32-63, high nibbles of 0-31, of 32-63.
Group, in reading order: per half and chunk j of 8: 64 bytes of nibbles of blocks 0 and 2, 64 of blocks 1 and 3, 64 of
bit pairs (pair k: block k); then 16 x 16 scales, 16 d as f16, 32 bytes of padding; 3392 bytes.
The scale is multiplied in int32, which is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from realizar_numba.activations import BLOCK_NBYTES, LANE_NBYTES, MINUS_HALF_SUM, MINUS_SUM, SCALE
from realizar_numba.simd.floating import fma, from_f16, mul, to_f32
from realizar_numba.simd.integer import add_i32, bit_or, mul_i32, nibbles_at, pair_to_48, shift_left, sub_i32, widen_i8
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import (
    broadcast_4xi8,
    broadcast_f32,
    broadcast_i32,
    load_f16,
    load_f16x16,
    load_i8,
    load_i8x16,
    load_i8x64,
    load_u8,
    prefetch,
    store_u8,
)
from realizar_numba.simd.types import get, i32x16, put, registers
from realizar_numba.weights.packing import PREFETCH, interleave_halves, interleave_words

_FILE_BLOCK = 210
_HALF = 8 * 192
_SCALES = 2 * _HALF
_D = _SCALES + 256
_BLOCK = _D + 64
_minus_bias_times = shift_left(5)


def group_nbytes(columns: int) -> int:
    """Bytes of 16 rows."""
    return columns // 256 * _BLOCK


@compiled
def pack_group(source, row_nbytes, rows, columns, destination):
    """See `realizar_numba.weights`."""
    for b in range(columns // 256):
        block, packed = source + b * _FILE_BLOCK, destination + b * _BLOCK
        for half in range(2):
            for j in range(8):
                chunk = packed + _HALF * half + 192 * j
                interleave_words(block + 64 * half + 4 * j, row_nbytes, rows, 1, chunk)
                interleave_words(block + 64 * half + 32 + 4 * j, row_nbytes, rows, 1, chunk + 64)
                interleave_words(block + 128 + 32 * half + 4 * j, row_nbytes, rows, 1, chunk + 128)
        for r in range(rows):
            for s in range(16):
                store_u8(packed + _SCALES + 16 * s + r, load_u8(block + r * row_nbytes + 192 + s))
        interleave_halves(block + 208, row_nbytes, rows, packed + _D)


@compiled
def value(group, row, column):
    """See `realizar_numba.weights`."""
    block, c = group + column // 256 * _BLOCK, column % 256
    k, byte = c % 128 // 32, 4 * row + c % 4
    chunk = block + c // 128 * _HALF + 192 * (c % 32 // 4)
    nibbles, pairs = load_u8(chunk + 64 * (k % 2) + byte), load_u8(chunk + 128 + byte)
    q = np.int32(nibbles >> 4 if k >= 2 else nibbles & 15) + np.int32(pairs >> (2 * k) & 3) * 16
    scale = load_f16(block + _D + 2 * row) * np.float32(load_i8(block + _SCALES + 16 * (c // 16) + row))
    return scale * np.float32(q - 32)


def _build_add_block(lanes: int, dot: Any) -> Any:
    """A function that adds block k of the half that starts at `chunks`: two sub-blocks of 16 columns."""
    new_sums = registers(i32x16, lanes)

    @compiled
    def add_block(chunks, k, scales, d, x, sums):
        total = new_sums()
        for u in range(2):
            products = new_sums()
            for t in range(lanes):
                p = x + LANE_NBYTES * t
                minus_sum = broadcast_i32(p + MINUS_HALF_SUM)
                if u == 1:
                    minus_sum = sub_i32(broadcast_i32(p + MINUS_SUM), minus_sum)
                put(products, t, _minus_bias_times(minus_sum))
            for j in range(4):
                chunk = chunks + 192 * (4 * u + j)
                low = nibbles_at(load_i8x64(chunk + 64 * (k % 2)), 4 * (k // 2))
                q = bit_or(low, pair_to_48(load_i8x64(chunk + 128), 2 * k))
                for t in range(lanes):
                    p = x + LANE_NBYTES * t + 16 * u + 4 * j
                    put(products, t, dot(get(products, t), q, broadcast_4xi8(p)))
            scale = widen_i8(load_i8x16(scales + 16 * u))
            for t in range(lanes):
                put(total, t, add_i32(get(total, t), mul_i32(get(products, t), scale)))
        for t in range(lanes):
            scale = mul(d, broadcast_f32(x + LANE_NBYTES * t + SCALE))
            put(sums, t, fma(to_f32(get(total, t)), scale, get(sums, t)))

    return add_block


def build_tile(lanes: int, dot: Any) -> Any:
    """See `realizar_numba.weights`."""
    add_block = _build_add_block(lanes, dot)

    @compiled
    def tile(weights, x, columns, sums):
        for _ in range(columns // 256):
            d = from_f16(load_f16x16(weights + _D))
            for half in range(2):
                if lanes == 1:
                    for i in range(27):
                        prefetch(weights + 27 * 64 * half + 64 * i + PREFETCH)
                for k in range(4):
                    scales = weights + _SCALES + 128 * half + 32 * k
                    add_block(weights + _HALF * half, k, scales, d, x, sums)
                    x += BLOCK_NBYTES
            weights += _BLOCK

    return tile
