"""Eight-bit floating point: E4M3, E5M2, their FNUZ variants, and E8M0, which is only an exponent.

Sources: Micikevicius et al. 2022, arXiv:2209.05433 (E4M3, E5M2); Noune et al. 2022, arXiv:2206.02915 (FNUZ: one zero,
no infinity, NaN at 0x80); OCP Microscaling Formats v1.0 (E8M0). Bits of a code: sign, exponent, mantissa.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realizar.quant.layouts import ByteArray, Float32Array

CODES = np.arange(256)


def _values(mantissa_bits: int, bias: int) -> NDArray[np.float64]:
    """The value of each code [256] by the rule of normal and subnormal numbers, no code being special."""
    exponent = (CODES & 0x7F) >> mantissa_bits
    fraction = (CODES & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    magnitude: NDArray[np.float64] = np.ldexp(fraction + (exponent > 0), np.maximum(exponent, 1) - bias)
    return np.where(CODES & 0x80, -magnitude, magnitude)


def _e4m3() -> NDArray[np.float64]:
    """Bias 7; all exponent and mantissa bits set is NaN; no infinity, so the largest value is 448."""
    values = _values(mantissa_bits=3, bias=7)
    values[[0x7F, 0xFF]] = np.nan
    return values


def _e5m2() -> NDArray[np.float64]:
    """Bias 15; the highest exponent is infinity with mantissa 0 and NaN otherwise, as in IEEE 754."""
    values = _values(mantissa_bits=2, bias=15)
    values[[0x7C, 0xFC]] = np.inf, -np.inf
    values[[0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]] = np.nan
    return values


def _fnuz(mantissa_bits: int, bias: int) -> NDArray[np.float64]:
    values = _values(mantissa_bits, bias)
    values[0x80] = np.nan
    return values


def _e8m0() -> NDArray[np.float64]:
    """2^(e - 127); 255 is NaN."""
    return np.where(CODES == 255, np.nan, np.ldexp(1.0, CODES - 127))


VALUES: dict[str, Float32Array] = {
    name: values.astype(np.float32)
    for name, values in {
        "F8_E4M3": _e4m3(),
        "F8_E5M2": _e5m2(),
        "F8_E4M3FNUZ": _fnuz(mantissa_bits=3, bias=8),
        "F8_E5M2FNUZ": _fnuz(mantissa_bits=2, bias=16),
        "F8_E8M0": _e8m0(),
    }.items()
}
"""The value of every code [256]; float32 holds each exactly."""

_LADDERS = {"F8_E4M3": _values(3, 7)[:0x80], "F8_E5M2": _values(2, 15)[:0x7D]}
"""Magnitudes of the codes from 0 up; the last is what stands for everything beyond the largest value."""


def encode(values: Float32Array, name: str) -> ByteArray:
    """The nearest codes of F8_E4M3 or F8_E5M2, ties to the even one.

    What rounds beyond the largest value becomes NaN in E4M3 and infinity in E5M2; a NaN keeps its sign.
    """
    ladder = _LADDERS[name]
    between = (ladder[1:] + ladder[:-1]) / 2
    magnitude = np.abs(values)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        below, above = (np.searchsorted(between, magnitude, side) for side in ("left", "right"))
    codes = np.where(np.isnan(values), 0x7F, np.where(below % 2, above, below))
    return np.asarray(codes | (np.signbit(values) << 7), np.uint8)
