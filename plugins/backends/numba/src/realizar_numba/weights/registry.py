"""Which weight types have a kernel of their own."""

from __future__ import annotations

from realizar_numba.weights import words
from realizar_numba.weights.codes import Codes, planes
from realizar_numba.weights.floats import BF16, F16, F32, FloatLayout
from realizar_numba.weights.integer import IntegerLayout
from realizar_numba.weights.scales import BlockScale, BlockScaleAndMinimum, PowerOfTwo
from realizar_numba.weights.super_scales import HalfScales, HalfScalesAndMinimums, SubScales, SubScalesAndMinimums

_IQ4 = tuple(v + 128 for v in (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113))
"""The sixteen values of IQ4_NL and IQ4_XS (ggml `kvalues_iq4nl`), plus 128."""

_E2M1 = tuple(v + 12 for v in (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12))
"""Twice the values of FP4 (OCP Microscaling Formats v1.0), plus 12."""

INTEGER_LAYOUTS: dict[str, IntegerLayout] = {
    layout.name: layout
    for layout in (
        IntegerLayout("Q4_0", Codes(planes(4), 8), words.nibbles(2), BlockScale()),
        IntegerLayout("Q4_1", Codes(planes(4)), words.nibbles(4), BlockScaleAndMinimum()),
        IntegerLayout("Q5_0", Codes(planes(4, 1), 16), words.nibbles_and_bits(6, 2), BlockScale()),
        IntegerLayout("Q5_1", Codes(planes(4, 1)), words.nibbles_and_bits(8, 4), BlockScaleAndMinimum()),
        IntegerLayout("Q8_0", Codes(planes(8), 128), words.bytes_at(2), BlockScale()),
        IntegerLayout("Q2_K", Codes(planes(2)), words.q2_k, HalfScalesAndMinimums(80)),
        IntegerLayout("Q3_K", Codes(planes(2, 1), 4), words.q3_k, HalfScales(words.q3_k_scale, 108)),
        IntegerLayout("Q4_K", Codes(planes(4)), words.q4_k, SubScalesAndMinimums(words.q4_k_scales)),
        IntegerLayout("Q5_K", Codes(planes(4, 1)), words.q5_k, SubScalesAndMinimums(words.q4_k_scales)),
        IntegerLayout("Q6_K", Codes(planes(4, 2), 32), words.q6_k, HalfScales(words.q6_k_scale, 208)),
        IntegerLayout("IQ4_NL", Codes(planes(4), 128, _IQ4), words.nibbles(2), BlockScale()),
        IntegerLayout("IQ4_XS", Codes(planes(4), 128, _IQ4), words.iq4_xs, SubScales(words.iq4_xs_scale, 0)),
        IntegerLayout("MXFP4", Codes(planes(4), 12, _E2M1), words.nibbles(1), PowerOfTwo()),
    )
}
"""Types whose kernels take int8 activations, by ggml name."""

FLOAT_LAYOUTS: dict[str, FloatLayout] = {"F32": F32, "F16": F16, "BF16": BF16}
"""Types whose kernels take float32 activations."""

LAYOUTS: dict[str, IntegerLayout | FloatLayout] = {**INTEGER_LAYOUTS, **FLOAT_LAYOUTS}
"""All of them; every other type is dequantized to F32 at load."""
