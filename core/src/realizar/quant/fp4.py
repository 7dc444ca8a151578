"""Four-bit floating point (E2M1) with a small floating-point scale: MXFP4 and NVFP4.

Each function takes blocks [n] of its layout and returns float32 [n, block_size].
Sources: OCP Microscaling Formats v1.0 (E2M1, E8M0); ggml `ggml-quants.c`, `ggml-impl.h` (block order, special codes).
"""

from __future__ import annotations

import numpy as np

from realizar.quant.layouts import Blocks, Float32Array
from realizar.quant.packing import scaled, unpack

E2M1_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=np.float32)
"""Twice the value of each E2M1 code, so all are whole; the scales carry the missing half. Code 8 is +0, as in ggml."""


def _half_ue4m3() -> Float32Array:
    """Half the value of each unsigned E4M3 code [256]; the top bit is not read, and 0x7F (NaN) counts as zero."""
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    subnormal, normal = np.ldexp(mantissa / 8, -6), np.ldexp(1 + mantissa / 8, exponent - 7)
    values = np.where(exponent == 0, subnormal, normal) / 2
    values[0x7F] = 0
    return values.astype(np.float32)


HALF_UE4M3 = _half_ue4m3()


def mxfp4(blocks: Blocks) -> Float32Array:
    """w = 2^(e - 127) E2M1(q), one E8M0 scale for 32 elements; e = 255 is 2^128, not the NaN of the specification."""
    scales = np.ldexp(np.float32(1), blocks["e"].astype(np.int32) - 128)
    return scaled(scales, E2M1_DOUBLED[unpack(blocks["qs"], bits=4, run=16)])


def nvfp4(blocks: Blocks) -> Float32Array:
    """w = UE4M3(d) E2M1(q), one scale for each 16 of 64 elements."""
    return scaled(HALF_UE4M3[blocks["d"]], E2M1_DOUBLED[unpack(blocks["qs"], bits=4, run=8)])
