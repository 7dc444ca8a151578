"""Rotary frequencies against numbers worked out from the published formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from realizar.architectures.rope import FACTORS, rotation
from realizar.dtypes import DTYPES
from realizar.errors import ModelError
from realizar.model import ModelConfig, RopeScaling
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
