"""One scale per block of 32, 64 or 128 elements: Q1_0 to Q8_1.

Each function takes blocks [n] of its layout and returns float32 [n, block_size].
Source: ggml `ggml-quants.c`, `dequantize_row_q*_0` and `_1`.
"""

from __future__ import annotations

import numpy as np

from realizar.quant.layouts import Array, Blocks, Float32Array
from realizar.quant.packing import scale_of, scaled, unpack


def q1_0(blocks: Blocks) -> Float32Array:
    """w = d for a one bit, -d for a zero bit."""
    bits = unpack(blocks["qs"], bits=1, run=1).astype(np.int8)
    return scale_of(blocks) * (2 * bits - 1)


def q2_0(blocks: Blocks) -> Float32Array:
    """w = d (q - 1), q in 0..3."""
    q = unpack(blocks["qs"], bits=2, run=1).astype(np.int8)
    return scale_of(blocks) * (q - 1)


def q4_0(blocks: Blocks) -> Float32Array:
    """w = d (q - 8), q in 0..15; low nibbles are the first half of the block."""
    q = unpack(blocks["qs"], bits=4, run=16).astype(np.int8)
    return scale_of(blocks) * (q - 8)


def q4_1(blocks: Blocks) -> Float32Array:
    """w = d q + m, q in 0..15."""
    q = unpack(blocks["qs"], bits=4, run=16)
    return scale_of(blocks) * q + scale_of(blocks, "m")


def _five_bits(blocks: Blocks) -> Array:
    fifth = unpack(blocks["qh"], bits=1, run=1)
    return unpack(blocks["qs"], bits=4, run=16) | (fifth << 4)


def q5_0(blocks: Blocks) -> Float32Array:
    """w = d (q - 16), q in 0..31; `qh` holds the fifth bits."""
    return scale_of(blocks) * (_five_bits(blocks).astype(np.int8) - 16)


def q5_1(blocks: Blocks) -> Float32Array:
    """w = d q + m, q in 0..31."""
    return scale_of(blocks) * _five_bits(blocks) + scale_of(blocks, "m")


def q8_0(blocks: Blocks) -> Float32Array:
    """w = d q, q in -128..127."""
    return scaled(scale_of(blocks), blocks["qs"])


def q8_1(blocks: Blocks) -> Float32Array:
    """w = d q; `s` = d * sum(q) only serves dot products and is not read."""
    return scaled(scale_of(blocks), blocks["qs"])
