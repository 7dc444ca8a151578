"""Bit-for-bit comparison with the `gguf` package over random bytes, infinite and NaN scales included."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from realizar.dtypes import DTYPES
from realizar.quant import dequantize, quantize
from realizar.quant.layouts import LAYOUTS
from realizar.testing.blocks import random_blocks

gguf = pytest.importorskip("gguf")
quants = pytest.importorskip("gguf.quants")

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # gguf warns of the NaN it makes

NOT_IN_GGUF = {"Q1_0", "Q2_0", "Q8_1", "Q8_K"}
BLOCK_TYPES = [name for name, dtype in DTYPES.items() if dtype.is_quantized and name not in NOT_IN_GGUF]
GOLDEN = Path(__file__).parents[2] / "core" / "tests" / "data" / "dequantized_gguf.json"


def reference(stored: NDArray[Any], name: str) -> NDArray[np.float32]:
    return quants.dequantize(stored, gguf.GGMLQuantizationType[name])


def assert_same_bits(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    differs = (found.view(np.uint32) != expected.view(np.uint32)) & ~(np.isnan(found) & np.isnan(expected))
    assert not differs.any(), f"{differs.sum()} of {differs.size} differ, first at {np.argwhere(differs)[0]}"


@pytest.mark.parametrize("name", BLOCK_TYPES)
@pytest.mark.proves("gguf", type="{name}", task="dequantize")
def test_random_bytes(name: str) -> None:
    dtype = DTYPES[name]
    rng = np.random.default_rng(list(name.encode()))
    stored = rng.integers(0, 256, (6, 17, 40 * dtype.block_nbytes), dtype=np.uint8)
    assert_same_bits(dequantize(stored, dtype), reference(stored, name))


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_sensible_weights(name: str) -> None:
    stored = random_blocks(DTYPES[name], 5, 8192, np.random.default_rng(1))
    assert_same_bits(dequantize(stored, DTYPES[name]), reference(stored, name))


def half_fields() -> list[tuple[str, str]]:
    layouts = ((name, field, LAYOUTS[name][field]) for name in BLOCK_TYPES for field in LAYOUTS[name].names or ())
    return [(name, field) for name, field, part in layouts if part.base == np.dtype("<f2")]


@pytest.mark.parametrize(("name", "field"), half_fields())
def test_every_float16_scale(name: str, field: str) -> None:
    rng = np.random.default_rng(5)
    blocks = random_blocks(DTYPES[name], 1 << 14, DTYPES[name].block_size, rng).view(LAYOUTS[name])
    blocks[field][:, 0, 0] = np.arange(0, 1 << 16, 4, dtype=np.uint16).view("<f2")
    blocks[field][:16, 0, 0] = np.array([np.inf, -np.inf, np.nan, -0.0] * 4, dtype=np.float16)
    stored = blocks.view(np.uint8)
    assert_same_bits(dequantize(stored, DTYPES[name]), reference(stored, name))


@pytest.mark.parametrize(("name", "count"), [("MXFP4", 1), ("NVFP4", 4)])
def test_every_byte_scale(name: str, count: int) -> None:
    stored = np.random.default_rng(2).integers(0, 256, (256, DTYPES[name].block_nbytes), dtype=np.uint8)
    stored[:, :count] = np.arange(256)[:, None]
    assert_same_bits(dequantize(stored, DTYPES[name]), reference(stored, name))


@pytest.mark.parametrize("name", ["F16", "BF16"])
@pytest.mark.proves("gguf", type="{name}", task="dequantize")
def test_every_sixteen_bit_float(name: str) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    assert_same_bits(dequantize(bits.view(DTYPES[name].storage), DTYPES[name]), reference(bits.view(np.uint8), name))


def test_recorded_digests_are_those_of_this_gguf() -> None:
    """The core's own tests, which run without gguf, lean on these digests."""
    digests = json.loads(GOLDEN.read_text())["sha256"]
    assert set(digests) == set(BLOCK_TYPES)
    for name in BLOCK_TYPES:
        nbytes = 32 * DTYPES[name].block_nbytes
        stored = np.frombuffer(hashlib.shake_256(name.encode()).digest(nbytes), dtype=np.uint8)
        values = reference(stored.reshape(4, -1), name)
        values = np.where(np.isnan(values), np.float32(np.nan), values).astype("<f4")
        assert hashlib.sha256(values.tobytes()).hexdigest() == digests[name]


def awkward_values(seed: int) -> NDArray[np.float32]:
    """Rows [n, 96] of many magnitudes, with zeros, equal elements, exact halves and ties between extremes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(512, 96)) * np.exp2(rng.integers(-30, 14, (512, 1)))
    values[:32] = rng.integers(-127, 128, (32, 96)) / 2
    values[32:64] = rng.choice([-1.0, 1.0, 0.0], (32, 96))
    values[64:66], values[66:70] = 0.0, 3.0
    return values.astype(np.float32)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
@pytest.mark.proves("gguf", type="{name}", task="quantize")
def test_quantized_blocks(name: str) -> None:
    values = awkward_values(11)
    expected = quants.quantize(values, gguf.GGMLQuantizationType[name])
    np.testing.assert_array_equal(quantize(values, DTYPES[name]), expected)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
@pytest.mark.proves("gguf", type="{name}", task="quantize")
def test_quantized_plain_types(name: str) -> None:
    bits = np.random.default_rng(4).integers(0, 1 << 32, (64, 1024), dtype=np.uint32)
    values = np.concatenate([bits.view(np.float32), awkward_values(13).reshape(-1, 1024)])
    expected = quants.quantize(values, gguf.GGMLQuantizationType[name])
    np.testing.assert_array_equal(quantize(values, DTYPES[name]).view(np.uint8), expected.view(np.uint8))
