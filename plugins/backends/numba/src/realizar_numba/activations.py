"""Activations as int8: one form for every quantized weight type.

A row of activations is cut into blocks of 32. A block of one token is 48 bytes: 32 int8 values, then

    32  float32  scale, so that value = scale * int8
    36  float32  scale * sum of the int8 values
    40  int32    minus their sum
    44  int32    minus the sum of the first 16

Eight tokens (lanes) lie side by side, block after block: [tile of 8 lanes][block][lane][48 bytes], so that a
matrix kernel follows one pointer, whether it takes one lane or eight.

A row may have two lanes: the second holds, in the same form, what rounding took from the first. The sum of their
two products is that of 15-bit activations: for the output head, where rounding goes straight into the logits.
"""

from __future__ import annotations

import numpy as np

from realizar_numba.memory import address, aligned_zeros
from realizar_numba.simd.floating import (
    absolute,
    fma,
    max_absolute,
    maximum,
    mul,
    round_even,
    splat_f32,
    to_f32,
    to_i32,
)
from realizar_numba.simd.integer import narrow_i8, sum_i32, widen_i8
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import load_f32, load_i8x16, store, store_f32, store_i32

BLOCK_SIZE = 32
LANES = 8
LANE_NBYTES = 48
BLOCK_NBYTES = LANES * LANE_NBYTES
SCALE, SCALED_SUM, MINUS_SUM, MINUS_HALF_SUM = 32, 36, 40, 44

_SCALE_OF_MAXIMUM = np.float32(1 / 127)


class Activations:
    """Room for quantized rows; `private` says that a lone token has a copy for each thread, a tile apart."""

    def __init__(self, max_rows: int, width: int, num_threads: int, lanes_per_row: int = 1) -> None:
        self.tile_nbytes = width // BLOCK_SIZE * BLOCK_NBYTES
        self.memory = aligned_zeros(max(-(-max_rows * lanes_per_row // LANES), num_threads) * self.tile_nbytes)
        self.address = address(self.memory)
        self.lanes_per_row = lanes_per_row
        self.private = False


class FloatTiles:
    """Room for float rows, 8 tokens interleaved: [tile of 8 tokens][column][8] float32."""

    def __init__(self, max_rows: int, width: int) -> None:
        self.memory = aligned_zeros(-(-max_rows // LANES) * LANES * 4 * width)
        self.address = address(self.memory)


@compiled
def float_address(tiles, token, columns):
    """Where the first column of a token lies."""
    return tiles + (token // LANES) * 4 * LANES * columns + 4 * (token % LANES)


def destination(activations: Activations | None) -> dict[str, int]:
    """The fields of a kernel's record that say where quantized results go, if anywhere."""
    if activations is None:
        return {"activations": 0, "lanes_per_row": 1}
    return {"activations": activations.address, "lanes_per_row": activations.lanes_per_row}


@compiled
def lane_address(activations, token, num_blocks):
    """Where the first block of a token lies."""
    return activations + (token // LANES) * num_blocks * BLOCK_NBYTES + (token % LANES) * LANE_NBYTES


@compiled
def quantize_block(low, high, address, lanes):
    """Write 32 floats as one lane of a block, and with `lanes` 2 what that leaves over as the next lane."""
    _quantize_lane(low, high, address)
    if lanes == 2:
        minus_scale = splat_f32(-load_f32(address + SCALE))
        low = fma(minus_scale, to_f32(widen_i8(load_i8x16(address))), low)
        high = fma(minus_scale, to_f32(widen_i8(load_i8x16(address + 16))), high)
        _quantize_lane(low, high, address + LANE_NBYTES)


@compiled
def _quantize_lane(low, high, address):
    """The largest magnitude becomes 127."""
    largest = max_absolute(maximum(absolute(low), absolute(high)))
    inverse = np.float32(127) / largest if largest > np.float32(0) else np.float32(0)
    first, second = to_i32(round_even(mul(low, splat_f32(inverse)))), to_i32(round_even(mul(high, splat_f32(inverse))))
    store(address, narrow_i8(first))
    store(address + 16, narrow_i8(second))
    half = sum_i32(first)
    total = half + sum_i32(second)
    scale = largest * _SCALE_OF_MAXIMUM
    store_f32(address + SCALE, scale)
    store_f32(address + SCALED_SUM, scale * np.float32(total))
    store_i32(address + MINUS_SUM, np.int32(-total))
    store_i32(address + MINUS_HALF_SUM, np.int32(-half))
