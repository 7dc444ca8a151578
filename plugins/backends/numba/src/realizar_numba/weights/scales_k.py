"""The packed 6-bit scales and minimums of Q4_K and Q5_K."""

from __future__ import annotations

from typing import Any

import numpy as np

from realizar_numba.activations import LANE_NBYTES, SCALE, SCALED_SUM
from realizar_numba.simd.floating import fma, mul, sub, to_f32
from realizar_numba.simd.integer import widen_u8
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import broadcast_f32, load_i8x16, load_u8, store_u8
from realizar_numba.simd.types import get, put


@compiled
def pack_scales(source, row_nbytes, rows, scales, minimums):
    """Unpack 12 bytes of each row into one byte a scale: [8 sub-blocks][16 rows], likewise minimums.

    Sub-blocks 0-3: low 6 bits of bytes 0-3 (scales), 4-7 (minimums). Sub-blocks 4-7: low and high nibbles of bytes
    8-11, and above them the top 2 bits of bytes 0-3 and 4-7.
    """
    for r in range(rows):
        row = source + r * row_nbytes
        for s in range(4):
            scale, offset, both = load_u8(row + s), load_u8(row + 4 + s), load_u8(row + 8 + s)
            store_u8(scales + 16 * s + r, np.uint8(scale & 63))
            store_u8(minimums + 16 * s + r, np.uint8(offset & 63))
            store_u8(scales + 16 * (s + 4) + r, np.uint8((both & 15) | (scale >> 6 << 4)))
            store_u8(minimums + 16 * (s + 4) + r, np.uint8((both >> 4) | (offset >> 6 << 4)))


def build_add_sub_block(lanes: int) -> Any:
    """A function that adds d * scale * (x q) - dmin * minimum * sum(x) of one sub-block to the sums of 16 rows.

    products: the integer products x q; scales: address of the sub-block's 16 scales, its minimums 128 bytes on.
    """

    @compiled
    def add_sub_block(products, scales, d, dmin, x, sums):
        scale = mul(d, to_f32(widen_u8(load_i8x16(scales))))
        offset = mul(dmin, to_f32(widen_u8(load_i8x16(scales + 128))))
        for t in range(lanes):
            p = x + LANE_NBYTES * t
            total = fma(to_f32(get(products, t)), mul(scale, broadcast_f32(p + SCALE)), get(sums, t))
            put(sums, t, sub(total, mul(offset, broadcast_f32(p + SCALED_SUM))))

    return add_sub_block
