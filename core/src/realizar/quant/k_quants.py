"""Super-blocks of 256 elements with quantized scales: Q2_K to Q8_K.

Each function takes blocks [n] of its layout and returns float32 [n, 256].
Source: ggml `ggml-quants.c`, `dequantize_row_q*_K`. Products are formed in its order, (d * scale) * q, as Q6_K rounds.
"""

from __future__ import annotations

import numpy as np

from realizar.quant.layouts import Array, Blocks, ByteArray, Float32Array
from realizar.quant.packing import scale_of, scaled, unpack


def _minus(values: Float32Array, mins: Float32Array) -> Float32Array:
    groups = values.reshape(*mins.shape, -1)
    return (groups - mins[..., None]).reshape(len(values), -1)


def q2_k(blocks: Blocks) -> Float32Array:
    """w = d s q - dmin m: 2-bit q, 16 groups of 16; a byte of `scales` holds s (low nibble) and m."""
    scales = scale_of(blocks) * (blocks["scales"] & 15)
    mins = scale_of(blocks, "dmin") * (blocks["scales"] >> 4)
    return _minus(scaled(scales, unpack(blocks["qs"], bits=2, run=32)), mins)


def q3_k(blocks: Blocks) -> Float32Array:
    """w = d (s - 32) (q - 4): 3-bit q whose top bit lies in `hmask`, 16 groups of 16, 6-bit s."""
    low, high = blocks["scales"][:, :8], blocks["scales"][:, 8:]
    codes = unpack(low, bits=4, run=8) | (unpack(high, bits=2, run=4) << 4)
    scales = scale_of(blocks) * (codes.astype(np.int8) - 32)
    q = unpack(blocks["qs"], bits=2, run=32) | (unpack(blocks["hmask"], bits=1, run=32) << 2)
    return scaled(scales, q.astype(np.int8) - 4)


def _six_bit_scales_and_mins(scales: ByteArray) -> tuple[ByteArray, ByteArray]:
    """Eight scales and eight mins of 6 bits out of 12 bytes: uint8 [n, 12] to two of uint8 [n, 8].

    The low 6 bits of bytes 0-3 are scales 0-3, those of bytes 4-7 mins 0-3. The other four of each have their low 4
    bits in bytes 8-11 (scales in the low nibbles, mins in the high ones), their top 2 in the top of bytes 0-3 and 4-7.
    """
    first, last = scales[:, :8].reshape(-1, 2, 4), unpack(scales[:, 8:], bits=4, run=4).reshape(-1, 2, 4)
    both = np.concatenate([first & 63, last | ((first >> 6) << 4)], axis=-1)
    return both[:, 0], both[:, 1]


def _with_mins(blocks: Blocks, q: Array) -> Float32Array:
    scale_codes, min_codes = _six_bit_scales_and_mins(blocks["scales"])
    return _minus(scaled(scale_of(blocks) * scale_codes, q), scale_of(blocks, "dmin") * min_codes)


def q4_k(blocks: Blocks) -> Float32Array:
    """w = d s q - dmin m: 4-bit q, 8 groups of 32, 6-bit s and m."""
    return _with_mins(blocks, unpack(blocks["qs"], bits=4, run=32))


def q5_k(blocks: Blocks) -> Float32Array:
    """w = d s q - dmin m: 5-bit q whose top bit lies in `qh`, 8 groups of 32, 6-bit s and m."""
    fifth = unpack(blocks["qh"], bits=1, run=32)
    return _with_mins(blocks, unpack(blocks["qs"], bits=4, run=32) | (fifth << 4))


def q6_k(blocks: Blocks) -> Float32Array:
    """w = d s (q - 32): 6-bit q, low nibbles in `ql`, top 2 bits in `qh`; 16 groups of 16, signed 8-bit s."""
    q = unpack(blocks["ql"], bits=4, run=64) | (unpack(blocks["qh"], bits=2, run=32) << 4)
    return scaled(scale_of(blocks) * blocks["scales"], q.astype(np.int8) - 32)


def q8_k(blocks: Blocks) -> Float32Array:
    """w = d q with a float32 d; `bsums`, the sums of 16 q, only serve dot products and are not read."""
    return scaled(scale_of(blocks), blocks["qs"])
