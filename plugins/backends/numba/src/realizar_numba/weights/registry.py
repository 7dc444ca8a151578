"""Which weight types have a kernel of their own."""

from __future__ import annotations

from realizar_numba.weights import grid_words as grids
from realizar_numba.weights import words
from realizar_numba.weights.byte_scales import HalfE4M3, PowerOfTwo
from realizar_numba.weights.codes import Codes, Plane, planes
from realizar_numba.weights.floats import BF16, F16, F32, FloatLayout
from realizar_numba.weights.integer import IntegerLayout
from realizar_numba.weights.odd_scales import OddHalfScales, OddScales
from realizar_numba.weights.scales import BlockScale, BlockScaleAndMinimum
from realizar_numba.weights.super_scales import HalfScales, HalfScalesAndMinimums, SubScales, SubScalesAndMinimums

_IQ4 = tuple(v + 128 for v in (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113))
"""The sixteen values of IQ4_NL and IQ4_XS (ggml `kvalues_iq4nl`), plus 128."""

_E2M1 = tuple(v + 12 for v in (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12))
"""Twice the values of FP4 (OCP Microscaling Formats v1.0), plus 12."""


def _with_top_bit(bias: int, low: list[int], high: list[int]) -> Codes:
    """Levels of a grid by number: `low`, or with a one bit above the number `high`. Three numbers take two bits."""
    unused = [0] * (4 - len(low))
    bits = (4,) if len(low) == 8 else (2, 1)
    return Codes(planes(*bits), bias, tuple(bias + v for v in (*low, *unused, *high, *unused)))


def _signed(bias: int, levels: tuple[int, ...]) -> Codes:
    """The bit means minus."""
    return _with_top_bit(bias, [*levels], [-v for v in levels])


_IQ1 = _with_top_bit(9, [8 * v + 1 for v in grids.LEVELS["iq1"]], [8 * v - 1 for v in grids.LEVELS["iq1"]])
"""Eight times the levels, shifted up or down by 1/8."""

_IQ2, _IQ3_XXS = _signed(128, grids.LEVELS["iq2"]), _signed(128, grids.LEVELS["iq3_xxs"])
_IQ3_S = _signed(15, grids.LEVELS["iq3_s"])

INTEGER_LAYOUTS: dict[str, IntegerLayout] = {
    layout.name: layout
    for layout in (
        IntegerLayout("Q4_0", Codes(planes(4), 8), words.nibbles(2), BlockScale()),
        IntegerLayout("Q4_1", Codes(planes(4)), words.nibbles(4), BlockScaleAndMinimum()),
        IntegerLayout("Q5_0", Codes(planes(4, 1), 16), words.nibbles_and_bits(6, 2), BlockScale()),
        IntegerLayout("Q5_1", Codes(planes(4, 1)), words.nibbles_and_bits(8, 4), BlockScaleAndMinimum()),
        IntegerLayout("Q8_0", Codes(planes(8), 128), words.bytes_at(2), BlockScale()),
        IntegerLayout("Q2_K", Codes(planes(2)), words.pairs(16), HalfScalesAndMinimums(80)),
        IntegerLayout("Q3_K", Codes(planes(2, 1), 4), words.q3_k, HalfScales(words.q3_k_scale, 108)),
        IntegerLayout("Q4_K", Codes(planes(4)), words.q4_k, SubScalesAndMinimums(words.q4_k_scales)),
        IntegerLayout("Q5_K", Codes(planes(4, 1)), words.q5_k, SubScalesAndMinimums(words.q4_k_scales)),
        IntegerLayout("Q6_K", Codes(planes(4, 2), 32), words.q6_k, HalfScales(words.q6_k_scale, 208)),
        IntegerLayout("IQ4_NL", Codes(planes(4), 128, _IQ4), words.nibbles(2), BlockScale()),
        IntegerLayout("IQ4_XS", Codes(planes(4), 128, _IQ4), words.iq4_xs, SubScales(words.iq4_xs_scale, 0)),
        IntegerLayout("MXFP4", Codes(planes(4), 12, _E2M1), words.nibbles(1), PowerOfTwo()),
        IntegerLayout("NVFP4", Codes(planes(4), 12, _E2M1), words.nvfp4, HalfE4M3()),
        IntegerLayout("Q1_0", Codes((Plane(bits=1, shift=1, offset=0),), 1), words.q1_0, BlockScale(128)),
        IntegerLayout("Q2_0", Codes(planes(2), 1), words.q2_0, BlockScale(64)),
        IntegerLayout("TQ1_0", Codes(planes(2), 1), words.tq1_0, BlockScale(256, 52)),
        IntegerLayout("TQ2_0", Codes(planes(2), 1), words.pairs(0), BlockScale(256, 64)),
        IntegerLayout("IQ1_S", _IQ1, grids.iq1_s, OddScales(grids.iq1_s_scale, 1 / 8)),
        IntegerLayout("IQ1_M", _IQ1, grids.iq1_m, OddHalfScales(grids.iq1_m_scale, 1 / 8, grids.iq1_m_d)),
        IntegerLayout("IQ2_XXS", _IQ2, grids.iq2_xxs, OddScales(grids.top_nibbles(6, 8), 1 / 8)),
        IntegerLayout("IQ2_XS", _IQ2, grids.iq2_xs, OddHalfScales(grids.nibbles(66), 1 / 8)),
        IntegerLayout("IQ2_S", _IQ2, grids.iq2_s, OddHalfScales(grids.nibbles(74), 1 / 8)),
        IntegerLayout("IQ3_XXS", _IQ3_XXS, grids.iq3_xxs, OddScales(grids.top_nibbles(66, 4), 1 / 4)),
        IntegerLayout("IQ3_S", _IQ3_S, grids.iq3_s, OddScales(grids.nibbles(106), 1)),
    )
}
"""Types whose kernels take int8 activations, by ggml name."""

FLOAT_LAYOUTS: dict[str, FloatLayout] = {"F32": F32, "F16": F16, "BF16": BF16}
"""Types whose kernels take float32 activations."""

LAYOUTS: dict[str, IntegerLayout | FloatLayout] = {**INTEGER_LAYOUTS, **FLOAT_LAYOUTS}
"""All of them; every other type is dequantized to F32 at load."""
