"""The quantizers that search, against bounds from the types themselves; ggml's: oracles/test_quant_llama_cpp.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.quant import dequantize, quantize
from realizar.quant.fitting import fit_affine, fit_symmetric
from realizar.quant.packing import pack, unpack
from realizar.quant.quantize import QUANTIZABLE
from realizar.testing.strategies import reproducible, seeds

BLOCKS = sorted(name for name in QUANTIZABLE if DTYPES[name].is_quantized)
WEIGHED = sorted(set(BLOCKS) - {"Q8_0", "MXFP4"})

LEVELS = {
    "Q2_K": 4, "Q3_K": 8, "Q4_K": 16, "Q5_K": 32, "Q6_K": 64, "Q4_0": 16, "Q4_1": 16, "Q5_0": 32, "Q5_1": 32,
    "Q8_0": 256, "IQ4_NL": 16, "MXFP4": 16,
}  # fmt: skip

NMSE = {
    "Q2_K": 0.075, "Q3_K": 0.025, "Q4_K": 0.0055, "Q5_K": 0.0015, "Q6_K": 0.0004, "Q4_0": 0.009, "Q4_1": 0.007,
    "Q5_0": 0.0023, "Q5_1": 0.0018, "Q8_0": 0.00004, "IQ4_NL": 0.007, "MXFP4": 0.02,
}  # fmt: skip
"""Squared error of normal weights over their square: somewhat more than these types are known to have."""


def error(x, name, importance=None, weights=1.0):
    found = dequantize(quantize(x, DTYPES[name], importance), DTYPES[name])
    return float((weights * np.square(found - x.astype(np.float64))).mean())


@pytest.mark.parametrize("bits, run", [(1, 32), (2, 32), (2, 4), (4, 32), (4, 64), (4, 1)])
@given(seed=seeds)
@reproducible(20)
def test_pack_is_the_inverse_of_unpack(bits, run, seed):
    packed = np.random.default_rng(seed).integers(0, 256, (3, 64), np.uint8)
    assert (pack(unpack(packed, bits, run), bits, run) == packed).all()


@pytest.mark.parametrize("name", BLOCKS)
def test_error_of_normal_weights(name):
    x = np.random.default_rng(0).standard_normal((16, 1024)).astype(np.float32)
    assert error(x, name) < NMSE[name]


@pytest.mark.parametrize("name", BLOCKS)
@given(seed=seeds, size=st.sampled_from((1e-3, 1.0, 100.0)), shift=st.sampled_from((-2.0, 0.0, 2.0)))
@reproducible(20)
def test_no_element_is_far_off(name, seed, size, shift):
    """An element is off by less than one step of its block's range; two where scales are coarse themselves."""
    x = size * (np.random.default_rng(seed).standard_normal((2, 512)).astype(np.float32) + np.float32(shift))
    found = dequantize(quantize(x, DTYPES[name]), DTYPES[name])
    blocks = x.reshape(-1, DTYPES[name].block_size)
    reach = np.maximum(blocks.max(axis=1), 0) - np.minimum(blocks.min(axis=1), 0)
    steps = np.abs(found - x).reshape(blocks.shape).max(axis=1) / reach
    assert steps.max() <= 4 / LEVELS[name]


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("value", [0.0, 1e-30])
def test_next_to_nothing_becomes_next_to_nothing(name, value):
    x = np.full((1, 256), value, np.float32)
    assert np.abs(dequantize(quantize(x, DTYPES[name]), DTYPES[name])).max() <= 1e-29


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("value", [3.0, -3.0])
def test_constant(name, value):
    x = np.full((1, 256), value, np.float32)
    assert dequantize(quantize(x, DTYPES[name]), DTYPES[name]) == pytest.approx(x, rel=0.02)


@pytest.mark.parametrize("name", WEIGHED)
def test_importance_lowers_what_it_weighs(name):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((64, 512)).astype(np.float32)
    weights = np.where(rng.random(512) < 0.1, 100.0, 1.0).astype(np.float32)
    assert error(x, name, weights, weights) < 0.97 * error(x, name, None, weights)


def test_importance_is_per_column():
    """The same row twice gives the same blocks twice, wherever chunks end."""
    rng = np.random.default_rng(2)
    row = rng.standard_normal(768).astype(np.float32)
    found = quantize(np.tile(row, (200, 1)), DTYPES["Q4_K"], rng.random(768).astype(np.float32))
    assert (found == found[0]).all()


def brute(x, levels, steps):
    """The least squared error of x = s q over a fine grid of scales, in float64."""
    scales = np.linspace(-1, 1, steps)[:, np.newaxis] * np.abs(x).max() / (levels / 4)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.nan_to_num(np.rint(x / scales)).clip(-levels // 2, levels // 2 - 1)
    return float(np.square(x - scales * q).sum(axis=1).min())


@given(seed=seeds)
@reproducible(25)
def test_symmetric_fit_is_near_the_best(seed):
    x = np.random.default_rng(seed).standard_normal((16, 1))
    scale = fit_symmetric(x.astype(np.float32), None, -4, (-0.8, -0.4, 0.0, 0.4, 0.8), 3)
    q = np.rint(x / scale).clip(-4, 3)
    assert np.square(x - scale * q).sum() <= 1.25 * brute(x[:, 0], 8, 4001) + 1e-9


@given(seed=seeds, lift=st.sampled_from((0.0, 5.0)))
@reproducible(25)
def test_affine_fit_solves_its_normal_equations(seed, lift):
    """For the codes it ends with, no other scale and offset are better by more than rounding."""
    x = np.random.default_rng(seed).standard_normal((32, 1)) + lift
    scale, offset = fit_affine(x.astype(np.float32), None, 15, (-0.5, 0.0, 0.5), 2)
    assert offset[0] <= 0
    q = np.rint((x - offset) / scale).clip(0, 15)[:, 0]
    best = np.linalg.lstsq(np.stack([q, np.ones_like(q)], axis=1), x[:, 0], rcond=None)[0]
    best[1] = min(best[1], 0)
    found, ideal = (np.square(x[:, 0] - s * q - o).sum() for s, o in ((scale[0], offset[0]), best))
    assert found <= 1.1 * ideal + 1e-6


@pytest.mark.parametrize("name", BLOCKS)
def test_numbers_that_are_none_are_refused(name):
    with pytest.raises(FormatError, match=f"NaN or infinity to {name}"):
        quantize(np.array([[np.nan] * 256], np.float32), DTYPES[name])
