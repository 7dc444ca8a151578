"""Rotary frequencies against numbers worked out from the published formulas."""

from __future__ import annotations

import math

import attrs
import numpy as np
import pytest

from realizar.architectures.rope import FACTORS, LONG_FACTORS, SHORT_FACTORS, for_texts_of, rotation
from realizar.dtypes import DTYPES
from realizar.errors import ModelError
from realizar.model import FULL, SLIDING, ModelConfig, RopeScaling
from realizar.tensors import LazyTensor
from realizar.testing.models import memory_tensor, tiny_model


def config(**changes: object) -> ModelConfig:
    return tiny_model(**{"head_dim": 8, "rope_theta": 10000.0, **changes}).config  # type: ignore[arg-type]


def inv_freq(tensors: dict[str, LazyTensor] | None = None, **changes: object) -> tuple[float, ...]:
    return rotation(config(**changes), tensors or {}).inv_freq


def factors(values: list[float]) -> dict[str, LazyTensor]:
    return {FACTORS: memory_tensor(FACTORS, np.array(values, np.float32), DTYPES["F32"])}


def test_plain() -> None:
    # 10000^(-2i/8): powers of ten.
    assert inv_freq() == pytest.approx((1.0, 0.1, 0.01, 0.001), rel=1e-15)


def test_rotary_dim_smaller_than_the_head() -> None:
    assert inv_freq(rotary_dim=4) == pytest.approx((1.0, 0.01), rel=1e-15)


@pytest.mark.parametrize("rotary_dim", [3, 10, -2])
def test_rotary_dim_must_be_even_and_fit(rotary_dim: int) -> None:
    with pytest.raises(ModelError, match=f"rotary_dim is {rotary_dim}; expected an even number up to head_dim 8"):
        rotation(config(rotary_dim=rotary_dim), {})


def test_linear_scaling_divides_all() -> None:
    scaled = inv_freq(rope_scaling=RopeScaling("linear", 4.0))
    assert scaled == pytest.approx((0.25, 0.025, 0.0025, 0.00025), rel=1e-15)


def test_llama3_scaling() -> None:
    """Llama 3.1's constants: factor 8, low 1, high 4, original context 8192.

    Wavelengths are 2 pi / f. Those under 8192 / 4 = 2048 stay, those over 8192 are divided by 8, and between them
    smooth = (8192 / wavelength - 1) / 3 mixes the two. With theta 10000 and 8 columns the wavelengths are
    6.28, 62.8, 628 and 6283: three stay, the last one has smooth = (8192 / 6283.185 - 1) / 3 = 0.1012658.
    """
    scaling = RopeScaling("llama3", 8.0, 8192, 1.0, 4.0)
    smooth = (8192 * 0.001 / (2 * math.pi) - 1) / 3
    assert smooth == pytest.approx(0.1012658, abs=1e-7)
    last = (1 - smooth) * 0.001 / 8 + smooth * 0.001
    assert inv_freq(rope_scaling=scaling) == pytest.approx((1.0, 0.1, 0.01, last), rel=1e-12)


def test_llama3_scaling_stretches_long_wavelengths() -> None:
    """theta 500000: 500000^(-6/8) = 5.318e-5, wavelength 118,144 > 8192, so it is divided by 8."""
    scaling = RopeScaling("llama3", 8.0, 8192, 1.0, 4.0)
    *_, last = inv_freq(rope_theta=500000.0, rope_scaling=scaling)
    assert last == pytest.approx(500000.0**-0.75 / 8, rel=1e-12)


def test_llama3_scaling_without_an_original_context_takes_the_model_s() -> None:
    given = RopeScaling("llama3", 8.0, 256, 1.0, 4.0)
    absent = RopeScaling("llama3", 8.0, None, 1.0, 4.0)
    sizes = {"max_position_embeddings": 256}
    found = [inv_freq(rope_scaling=scaling, **sizes) for scaling in (given, absent)]
    assert found[0] == found[1]


def test_dynamic_scaling_changes_nothing_within_the_context() -> None:
    assert rotation(config(rope_scaling=RopeScaling("dynamic", 4.0)), {}) == rotation(config(), {})


def test_yarn_keeps_what_turns_often_and_stretches_the_rest() -> None:
    """Of 8 columns and theta 10000 the frequency that turns n times in 1024 positions has index
    8 ln(1024 / 2 pi n) / 2 ln 10000: 0.7074 for n = 32 and 2.2125 for n = 1, so 0 to 3 rounded outwards.
    A third of the way from 0 to 3 lies index 1: that one is 2/3 kept and 1/3 divided by 4, the next 1/3 and 2/3.
    """
    found = rotation(config(rope_scaling=RopeScaling("yarn", 4.0, 1024)), {})
    mixed = [1.0, 0.1 * (2 / 3 + 1 / 12), 0.01 * (1 / 3 + 2 / 12), 0.001 / 4]
    assert found.inv_freq == pytest.approx(mixed, rel=1e-12)
    assert found.scale == pytest.approx(1 + 0.1 * math.log(4))
    low, high = (8 * math.log(1024 / (2 * math.pi * n)) / (2 * math.log(10000)) for n in (32, 1))
    kept = [1 - min(1, max(0, (i - low) / (high - low))) for i in range(4)]
    exact = inv_freq(rope_scaling=RopeScaling("yarn", 4.0, 1024, truncate=False))
    plain = inv_freq()
    assert exact == pytest.approx([f * (k + (1 - k) / 4) for f, k in zip(plain, kept, strict=True)], rel=1e-12)


@pytest.mark.parametrize(
    ("scaling", "scale"),
    [
        (RopeScaling("yarn", 1.0, 1024), 1.0),
        (RopeScaling("yarn", 4.0, 1024, attention_factor=0.5), 0.5),
        (RopeScaling("yarn", 4.0, 1024, mscale=2.0, mscale_all_dim=0.5), 1.2772588722239782 / 1.0693147180559945),
    ],
)
def test_scale_of_yarn(scaling: RopeScaling, scale: float) -> None:
    """0.1 m ln 4 + 1: 1.2772588 for m = 2, 1.0693147 for m = 0.5."""
    assert rotation(config(rope_scaling=scaling), {}).scale == pytest.approx(scale, rel=1e-12)


LONGROPE = RopeScaling("longrope", 1.0, 16, short_factor=(1.0, 1.0, 2.0, 2.0), long_factor=(1.0, 2.0, 4.0, 8.0))


def test_longrope_has_a_divisor_for_each_frequency() -> None:
    found = rotation(config(rope_scaling=LONGROPE, max_position_embeddings=64), {})
    assert found.inv_freq == pytest.approx((1.0, 0.05, 0.0025, 0.000125), rel=1e-15)
    assert found.scale == pytest.approx(math.sqrt(1 + math.log(4) / math.log(16)))  # context 4 times the original
    within = rotation(config(rope_scaling=LONGROPE, max_position_embeddings=16), {})
    assert within.inv_freq == pytest.approx((1.0, 0.1, 0.005, 0.0005), rel=1e-15)
    assert within.scale == 1.0


@pytest.mark.parametrize(("length", "is_short"), [(2, True), (16, True), (17, False), (64, False)])
def test_short_texts_have_longrope_s_short_divisors(length: int, is_short: bool) -> None:
    """And the factor of the whole context, from either place that divisors come from."""
    whole = config(rope_scaling=LONGROPE, max_position_embeddings=64)
    bare = attrs.evolve(whole, rope_scaling=attrs.evolve(LONGROPE, short_factor=None, long_factor=None))
    for given, tensors in ((whole, {}), (bare, divisors())):
        found = rotation(for_texts_of(given, tensors, length), tensors)
        expected = (1.0, 0.1, 0.005, 0.0005) if is_short else (1.0, 0.05, 0.0025, 0.000125)
        assert found.inv_freq == pytest.approx(expected, rel=1e-15)
        assert found.scale == rotation(whole, {}).scale > 1


def test_other_scaling_is_the_same_for_texts_of_any_length() -> None:
    for given in (config(), config(rope_scaling=RopeScaling("linear", 4.0))):
        assert for_texts_of(given, {}, 2) is given


def divisors() -> dict[str, LazyTensor]:
    """Those of LONGROPE as tensors."""
    lists = ((LONG_FACTORS, LONGROPE.long_factor), (SHORT_FACTORS, LONGROPE.short_factor))
    return {name: memory_tensor(name, np.array(values, np.float32), DTYPES["F32"]) for name, values in lists}


def test_longrope_s_divisors_may_be_tensors() -> None:
    bare = RopeScaling("longrope", 1.0, 16, attention_factor=1.5)
    tensors = divisors()
    for context in (16, 64):
        sizes = {"max_position_embeddings": context}
        found = rotation(config(rope_scaling=bare, **sizes), tensors)
        assert found.inv_freq == rotation(config(rope_scaling=LONGROPE, **sizes), {}).inv_freq
        assert found.scale == 1.5


def test_sliding_layers_may_have_their_own_theta_and_no_scaling() -> None:
    local = config(rope_theta=1e8, rope_scaling=RopeScaling("linear", 4.0), rope_local_base_freq=10000.0)
    assert rotation(local, {}, SLIDING).inv_freq == pytest.approx((1.0, 0.1, 0.01, 0.001), rel=1e-15)
    assert rotation(local, {}, FULL).inv_freq == pytest.approx((0.25, 0.0025, 0.000025, 0.00000025), rel=1e-15)
    shared = config(rope_scaling=RopeScaling("linear", 4.0))
    assert rotation(shared, {}, SLIDING) == rotation(shared, {}, FULL)


def test_factors_of_the_file_divide() -> None:
    found = inv_freq(factors([1, 2, 4, 8]))
    assert found == pytest.approx((1.0, 0.05, 0.0025, 0.000125), rel=1e-15)


@pytest.mark.parametrize("values", [[1, 2, 0, 4], [1, -1, 1, 1], [1, math.nan, 1, 1], [1, 1, 1, math.inf]])
def test_factors_must_be_positive(values: list[float]) -> None:
    with pytest.raises(ModelError, match="rope_freqs.weight: rotary factors must be positive and finite"):
        rotation(config(), factors(values))


def test_factors_must_be_as_many_as_pairs() -> None:
    with pytest.raises(ModelError, match=r"shape \(3,\), expected \(4,\) for the rotary frequencies"):
        rotation(config(), factors([1, 1, 1]))


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        (RopeScaling("ntk", 2.0), "unknown rope_scaling type 'ntk'; known: linear, dynamic, llama3, yarn, longrope"),
        (RopeScaling("yarn", 2.0, beta_fast=1.0), "yarn needs beta_fast above beta_slow above 0"),
        (RopeScaling("longrope"), "rope_scaling.short_factor must have 4 numbers; found None"),
        (RopeScaling("longrope", long_factor=(1.0,) * 3, original_max_position_embeddings=8), "4 numbers; found 3"),
        (RopeScaling("longrope", short_factor=(1.0, 0.0, 1.0, 1.0)), "rotary factors must be positive and finite"),
        (RopeScaling("linear", 0.0), "rope_scaling.factor is 0.0; expected a positive number"),
        (RopeScaling("linear", math.nan), "rope_scaling.factor is nan"),
        (RopeScaling("llama3", 8.0, 8192, 4.0, 4.0), "high_freq_factor 4.0 must exceed low_freq_factor 4.0"),
        (RopeScaling("llama3", 8.0, 8192, 0.0, 4.0), "both positive"),
    ],
)
def test_bad_scaling(scaling: RopeScaling, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        rotation(config(rope_scaling=scaling), {})
