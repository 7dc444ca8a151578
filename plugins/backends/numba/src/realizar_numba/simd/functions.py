"""Exponentials and the error function on float vectors, within a few units in the last place.

exp: Cephes' expf reduction and polynomial (S. Moshier). erfc: exp(-z^2) times a polynomial fitted to
erfcx(z) (1 + 2z) in (z - 2) / (z + 2) on [0, 10], the variable of Shepherd and Laframboise 1981. exp2: a minimax
polynomial of 2^r on [-1/2, 1/2], fitted for the smallest relative error (2e-9 before rounding).
"""

from __future__ import annotations

import numpy as np

from realizar_numba.simd.floating import (
    absolute,
    add,
    div,
    fma,
    maximum,
    minimum,
    mul,
    one_f32,
    power_of_two,
    round_even,
    splat_f32,
    sub,
    to_i32,
    where_greater,
    zero_f32,
)
from realizar_numba.simd.jit import compiled

_SMALLEST, _LARGEST = np.float32(-87.3), np.float32(88.0)
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(-0.693359375), np.float32(2.12194440e-4)
_EXP = tuple(
    np.float32(c)
    for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
_ERFC = tuple(
    np.float32(c)
    for c in (2.36322361e-05, -0.000370678534, -0.00125394687, 0.00127902245, 0.00864052645, -0.00804639556,
              -0.0542058761, 0.164053385, -0.166031289, -0.0927639052, 1.27697839)
)  # fmt: skip
_EXP2 = tuple(
    np.float32(c) for c in (1.5353362e-4, 1.33988739e-3, 9.61843692e-3, 5.55033237e-2, 2.40226477e-1, 6.93147182e-1, 1)
)


@compiled
def _polynomial(coefficients, x):
    """Horner's rule, highest power first."""
    value = splat_f32(coefficients[0])
    for k in range(1, len(coefficients)):
        value = fma(value, x, splat_f32(coefficients[k]))
    return value


@compiled
def _exponent(x):
    """n with |x - n ln 2| <= ln 2 / 2, and the remainder, for x within the range of normal results."""
    n = round_even(mul(x, splat_f32(_LOG2_E)))
    return n, fma(n, splat_f32(_LN2_LOW), fma(n, splat_f32(_LN2_HIGH), x))


@compiled
def _exp_minus_1(r):
    """exp(r) - 1 for |r| <= ln 2 / 2."""
    return fma(_polynomial(_EXP, r), mul(r, r), r)


@compiled
def exp(x):
    """exp(x); 0 below -87.3, exp(88) above 88."""
    clipped = maximum(minimum(x, splat_f32(_LARGEST)), splat_f32(_SMALLEST))
    n, r = _exponent(clipped)
    value = mul(add(_exp_minus_1(r), one_f32()), power_of_two(to_i32(n)))
    return where_greater(splat_f32(_SMALLEST), x, zero_f32(), value)


@compiled
def exp2(x):
    """2 ** x for x <= 127; 0 below -126, NaN for NaN."""
    lowest = splat_f32(np.float32(-126))
    n = round_even(maximum(x, lowest))
    value = mul(_polynomial(_EXP2, sub(x, n)), power_of_two(to_i32(n)))
    return where_greater(lowest, x, zero_f32(), value)


@compiled
def expm1(x):
    """exp(x) - 1, accurate near 0 too."""
    clipped = maximum(minimum(x, splat_f32(_LARGEST)), splat_f32(_SMALLEST))
    n, r = _exponent(clipped)
    scale = power_of_two(to_i32(n))
    return fma(scale, _exp_minus_1(r), sub(scale, one_f32()))


@compiled
def tanh(x):
    """tanh(x)"""
    e = expm1(minimum(add(x, x), splat_f32(np.float32(40))))
    return div(e, add(e, splat_f32(np.float32(2))))


@compiled
def erfc(x):
    """1 - erf(x), with a small relative error for large x too."""
    two = splat_f32(np.float32(2))
    z = minimum(absolute(x), splat_f32(np.float32(10)))
    square = mul(z, z)
    rest = fma(z, z, sub(zero_f32(), square))
    gauss = exp(sub(zero_f32(), square))
    gauss = fma(sub(zero_f32(), rest), gauss, gauss)
    p = _polynomial(_ERFC, div(sub(z, two), add(z, two)))
    tail = div(mul(gauss, p), fma(two, z, one_f32()))
    return where_greater(zero_f32(), x, sub(two, tail), tail)
