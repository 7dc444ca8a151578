"""Q8_0: blocks of 32, d * q with signed bytes. File block: d f16, 32 bytes (ggml `block_q8_0`).

Group: per pair of blocks 2 x 512 bytes (chunk j: columns 4j..4j+3, each xor 0x80), 2 x 16 d as f16; 1088 bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from realizar_numba.activations import BLOCK_NBYTES, LANE_NBYTES, MINUS_SUM, SCALE
from realizar_numba.simd.floating import fma, from_f16, mul, to_f32
from realizar_numba.simd.integer import flip_signs, shift_left
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import (
    broadcast_4xi8,
    broadcast_f32,
    broadcast_i32,
    load_f16,
    load_f16x16,
    load_i8x64,
    load_u8,
    prefetch,
    store,
)
from realizar_numba.simd.types import get, i32x16, put, registers
from realizar_numba.weights.packing import PREFETCH, interleave_halves, interleave_words

_FILE_BLOCK = 34
_QUANTS = 512
_PAIR = 2 * _QUANTS + 64
_minus_bias_times = shift_left(7)


def group_nbytes(columns: int) -> int:
    """Bytes of 16 rows."""
    return -(-columns // 64) * _PAIR


@compiled
def _quants_and_scales(group, b):
    """Where block b has its quants and its 16 scales."""
    pair, odd = group + b // 2 * _PAIR, b % 2
    return pair + _QUANTS * odd, pair + 2 * _QUANTS + 32 * odd


@compiled
def pack_group(source, row_nbytes, rows, columns, destination):
    """See `realizar_numba.weights`."""
    for b in range(columns // 32):
        block = source + b * _FILE_BLOCK
        quants, scales = _quants_and_scales(destination, b)
        interleave_halves(block, row_nbytes, rows, scales)
        interleave_words(block + 2, row_nbytes, rows, 8, quants)
        for i in range(0, _QUANTS, 64):
            store(quants + i, flip_signs(load_i8x64(quants + i)))


@compiled
def value(group, row, column):
    """See `realizar_numba.weights`."""
    quants, scales = _quants_and_scales(group, column // 32)
    c = column % 32
    q = np.int32(load_u8(quants + 64 * (c // 4) + 4 * row + c % 4))
    return load_f16(scales + 2 * row) * np.float32(q - 128)


def build_tile(lanes: int, dot: Any) -> Any:
    """See `realizar_numba.weights`."""
    new_sums = registers(i32x16, lanes)

    @compiled
    def tile(weights, x, columns, sums):
        for b in range(columns // 32):
            quants, scales = _quants_and_scales(weights, b)
            products = new_sums()
            for t in range(lanes):
                put(products, t, _minus_bias_times(broadcast_i32(x + LANE_NBYTES * t + MINUS_SUM)))
            for j in range(8):
                q = load_i8x64(quants + 64 * j)
                if lanes == 1:
                    prefetch(quants + 64 * j + PREFETCH)
                for t in range(lanes):
                    put(products, t, dot(get(products, t), q, broadcast_4xi8(x + LANE_NBYTES * t + 4 * j)))
            d = from_f16(load_f16x16(scales))
            for t in range(lanes):
                scale = mul(d, broadcast_f32(x + LANE_NBYTES * t + SCALE))
                put(sums, t, fma(to_f32(get(products, t)), scale, get(sums, t)))
            x += BLOCK_NBYTES

    return tile
