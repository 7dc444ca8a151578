"""Dequantization and quantization against vectors computed by hand, digests of another implementation, and refusals."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.quant import dequantize, quantize
from realizar.quant.dequantize import DEQUANTIZERS
from realizar.quant.iq_grids import grid
from realizar.quant.layouts import LAYOUTS
from realizar.testing.blocks import random_blocks

BLOCK_TYPES = [name for name, dtype in DTYPES.items() if dtype.is_quantized]
PLAIN_TYPES = [name for name, dtype in DTYPES.items() if not dtype.is_quantized]
GOLDEN = json.loads((Path(__file__).parent / "data" / "dequantized_gguf.json").read_text())["sha256"]


def half(value: float) -> bytes:
    return struct.pack("<e", value)


# One block of each type and its first elements, worked out by hand from the struct and the formula of ggml.
HAND = {
    "Q1_0": (half(0.5) + bytes([0b00000101]) + bytes(15), [0.5, -0.5, 0.5] + [-0.5] * 125),
    "Q2_0": (half(3.0) + bytes([0b11100100]) + bytes(15), [-3.0, 0.0, 3.0, 6.0] + [-3.0] * 60),
    "Q4_0": (half(2.0) + bytes([0xF0]) + bytes([0x88] * 15), [-16.0] + [0.0] * 15 + [14.0] + [0.0] * 15),
    "Q4_1": (half(2.0) + half(-1.0) + bytes([0xF1]) + bytes(15), [1.0] + [-1.0] * 15 + [29.0] + [-1.0] * 15),
    "Q5_0": (half(1.0) + bytes([1, 0, 1, 0]) + bytes([0x31]) + bytes(15), [1.0] + [-16.0] * 15 + [3.0] + [-16.0] * 15),
    "Q8_0": (half(-0.5) + struct.pack("32b", *range(-16, 16)), [-0.5 * q for q in range(-16, 16)]),
    "Q8_1": (half(0.25) + half(9.0) + struct.pack("32b", -128, 127, *[4] * 30), [-32.0, 31.75] + [1.0] * 30),
    "Q8_K": (
        struct.pack("<f256b16h", 0.1, *range(-128, 128), *range(16)),
        [float(np.float32(0.1) * np.float32(q)) for q in range(-128, 128)],
    ),
    "TQ2_0": (bytes([0b10_01_00_10]) + bytes([0x55] * 63) + half(4.0), [4.0] + [0.0] * 31 + [-4.0] + [0.0] * 31),
    # 0xC0 = 192: digits of 192/256 in base 3 are 2, 0, 2, 0, 2
    "TQ1_0": (bytes([0xC0]) + bytes([0x80] * 51) + half(1.0), [1.0] + [0.0] * 31 + [-1.0]),
    "MXFP4": (bytes([128, 0x97]) + bytes(15), [12.0] + [0.0] * 15 + [-1.0] + [0.0] * 15),
    # UE4M3: 0x38 is 1.0, 0x01 is 2^-9, 0x7F counts as 0, 0x40 is 2.0
    "NVFP4": (
        bytes([0x38, 0x01, 0x7F, 0x40]) + (bytes([0x27]) + bytes(7)) * 4,
        [6.0] + [0.0] * 7 + [1.0] + [0.0] * 7 + [6 / 512] + [0.0] * 7 + [1 / 512] + [0.0] * 23 + [12.0],
    ),
    "Q4_K": (
        # scale 0 = 3, min 0 = 2; scale 4 = 0b01_0101 = 21, min 4 = 0b10_0110 = 38
        half(1.0) + half(0.5) + bytes([0x43, 0, 0, 0, 0x82, 0, 0, 0, 0x65, 0, 0, 0]) + bytes([0x07] * 128),
        [20.0] * 32 + [0.0] * 32 + [0.0] * 64 + [21 * 7 - 19.0] * 32 + [0.0] * 96,
    ),
    "Q6_K": (
        bytes([0x21]) + bytes(127) + bytes([0b00_10_00_11]) + bytes(63) + struct.pack("16b", -2, *[0] * 15) + half(0.5),
        [-1.0 * (0x31 - 32)] + [32.0] * 15 + [0.0] * 240,
    ),
    "IQ4_NL": (half(1.0) + bytes([0xF0] * 16), [-127.0] * 16 + [113.0] * 16),
}


@pytest.mark.parametrize("name", HAND)
@pytest.mark.proves("by hand", type="{name}", task="dequantize")
def test_hand_computed_block(name: str) -> None:
    stored, expected = HAND[name]
    values = dequantize(np.frombuffer(stored, dtype=np.uint8), DTYPES[name])
    assert values.shape == (DTYPES[name].block_size,)
    np.testing.assert_array_equal(values[: len(expected)], np.array(expected, dtype=np.float32))


@pytest.mark.parametrize("name", GOLDEN)
def test_same_bits_as_recorded_from_gguf(name: str) -> None:
    stored = np.frombuffer(hashlib.shake_256(name.encode()).digest(32 * DTYPES[name].block_nbytes), dtype=np.uint8)
    values = dequantize(stored.reshape(4, -1), DTYPES[name])
    values = np.where(np.isnan(values), np.float32(np.nan), values).astype("<f4")
    assert hashlib.sha256(values.tobytes()).hexdigest() == GOLDEN[name]


def test_every_block_type_is_checked_by_hand_or_by_digest() -> None:
    assert set(DEQUANTIZERS) == set(LAYOUTS) == set(BLOCK_TYPES) == set(HAND) | set(GOLDEN)


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_layout_fills_the_block(name: str) -> None:
    assert LAYOUTS[name].itemsize == DTYPES[name].block_nbytes


@pytest.mark.parametrize(
    ("name", "stored", "expected"),
    [
        ("F64", [1.5, -(2.0**-149), 1e300], [1.5, -(2.0**-149), np.inf]),
        ("F32", [1.5, -0.0], [1.5, -0.0]),
        ("F16", [65504.0, 2.0**-24, np.inf], [65504.0, 2.0**-24, np.inf]),
        ("BF16", [0x3F80, 0xC049, 0x0001, 0xFF80], [1.0, -3.140625, 2.0**-133, -np.inf]),
        ("I8", [-128, 127], [-128.0, 127.0]),
        ("I16", [-32768, 32767], [-32768.0, 32767.0]),
        ("I32", [16777217, -(2**31)], [16777216.0, -(2.0**31)]),
        ("I64", [2**62, -(2**24) - 3], [2.0**62, -(2.0**24) - 4]),
    ],
)
def test_plain_types(name: str, stored: list[float], expected: list[float]) -> None:
    values = dequantize(np.array(stored, dtype=DTYPES[name].storage), DTYPES[name])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values.view(np.uint32), np.array(expected, dtype=np.float32).view(np.uint32))


@given(name=st.sampled_from(BLOCK_TYPES), shape=st.lists(st.integers(0, 3), max_size=3), blocks=st.integers(0, 3))
def test_shapes_of_blocks(name: str, shape: list[int], blocks: int) -> None:
    dtype = DTYPES[name]
    stored = np.zeros((*shape, blocks * dtype.block_nbytes), dtype=np.uint8)
    assert dequantize(stored, dtype).shape == (*shape, blocks * dtype.block_size)


@given(name=st.sampled_from(PLAIN_TYPES), shape=st.lists(st.integers(0, 3), max_size=3))
def test_shapes_of_plain_types(name: str, shape: list[int]) -> None:
    values = dequantize(np.ones(shape, dtype=DTYPES[name].storage), DTYPES[name])
    assert values.shape == tuple(shape)
    assert values.dtype == np.float32


@given(name=st.sampled_from(BLOCK_TYPES), seed=st.integers(0, 2**32 - 1))
def test_rows_do_not_depend_on_their_neighbours(name: str, seed: int) -> None:
    dtype = DTYPES[name]
    stored = np.random.default_rng(seed).integers(0, 256, (3, 4 * dtype.block_nbytes), dtype=np.uint8)
    whole = dequantize(stored, dtype)
    np.testing.assert_array_equal(dequantize(stored[1, dtype.block_nbytes :], dtype), whole[1, dtype.block_size :])
    np.testing.assert_array_equal(dequantize(np.asfortranarray(stored), dtype), whole)


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_refuses_what_is_not_whole_blocks(name: str) -> None:
    dtype = DTYPES[name]
    for shape in [(), (dtype.block_nbytes - 1,), (2, dtype.block_nbytes + 1)]:
        with pytest.raises(FormatError, match=f"{name} rows are whole blocks of {dtype.block_nbytes} bytes"):
            dequantize(np.zeros(shape, dtype=np.uint8), dtype)


@pytest.mark.parametrize(("name", "wrong"), [("Q4_0", "i1"), ("BF16", "<f2"), ("F32", "<f8"), ("I8", "u1")])
def test_refuses_another_storage_type(name: str, wrong: str) -> None:
    with pytest.raises(FormatError, match=f"{name} is stored as an array of"):
        dequantize(np.zeros(288, dtype=wrong), DTYPES[name])


def test_float32_is_not_copied() -> None:
    stored = np.ones((2, 3), dtype="<f4")
    assert np.shares_memory(dequantize(stored, DTYPES["F32"]), stored)


@pytest.mark.parametrize("name", ["Q8_0", "Q2_K", "IQ1_M", "IQ3_XXS", "TQ1_0", "NVFP4", "BF16"])
def test_temporaries_stay_small(name: str) -> None:
    dtype = DTYPES[name]
    num_elements = 1 << 22
    nbytes = dtype.row_nbytes(num_elements)
    stored = np.zeros(nbytes, dtype=np.uint8).view(dtype.storage)
    dequantize(stored[: nbytes // 64], dtype)  # fills the grids' cache
    tracemalloc.start()
    try:
        dequantize(stored, dtype)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - 4 * num_elements < 16 << 20


def test_grids_are_shared_and_read_only() -> None:
    assert grid("iq1") is grid("iq1")
    assert not grid("iq1").flags.writeable
    assert len(np.unique(grid("iq2_s"), axis=0)) == 1024


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        # a half goes up, the positive extreme is clipped to 7
        ("Q4_0", [-8.0, 8.0, 0.5] + [0.0] * 29, half(1.0) + bytes([0x80, 0x8F, 0x89]) + bytes([0x88] * 13)),
        ("Q4_1", [1.0, 16.0] + [1.0] * 30, half(1.0) + half(1.0) + bytes([0x00, 0x0F]) + bytes(14)),
        ("Q5_0", [-16.0, 15.0] + [0.0] * 30, half(1.0) + bytes([0xFE, 255, 255, 255, 0, 0x0F]) + bytes(14)),
        (
            "Q5_1",
            [0.0, 31.0] + [1.0] * 30,
            half(1.0) + half(0.0) + bytes([2, 0, 0, 0, 0x10, 0x1F]) + bytes([0x11] * 14),
        ),
        ("Q8_0", [127.0, 0.5, -0.5, 2.5] + [0.0] * 28, half(1.0) + struct.pack("32b", 127, 1, -1, 3, *[0] * 28)),
        ("Q8_0", [0.0] * 32, bytes(34)),
        ("Q4_1", [1e-42, -1e-42] + [0.0] * 30, half(0.0) + half(-0.0) + bytes(16)),
        ("F16", [1.0, 1e6], half(1.0) + half(np.inf)),
        ("F32", [1.0, -0.0], struct.pack("<2f", 1.0, -0.0)),
        # ties to even: 1 + 2^-8 goes down, 1 + 3 * 2^-8 goes up; NaN stays NaN
        ("BF16", [1 + 2**-8, 1 + 3 * 2**-8, np.nan, -np.inf], struct.pack("<4H", 0x3F80, 0x3F82, 0x7FC0, 0xFF80)),
    ],
)
def test_quantize(name: str, values: list[float], expected: bytes) -> None:
    stored = quantize(np.array([values] * 2, dtype=np.float32), DTYPES[name])
    assert stored.dtype == np.dtype(DTYPES[name].storage)
    assert stored.shape[0] == 2
    assert [row.tobytes() for row in stored] == [expected, expected]


@given(name=st.sampled_from(["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]), seed=st.integers(0, 2**32 - 1))
def test_quantizing_errs_by_less_than_one_step(name: str, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(2, 64)).astype(np.float32)
    stored = quantize(values, DTYPES[name])
    step = stored.view(LAYOUTS[name])["d"]
    errors = np.abs(dequantize(stored, DTYPES[name]) - values).reshape(4, 32)
    assert (errors <= 1.01 * np.abs(step).reshape(4, 1)).all()


def test_quantize_refusals() -> None:
    with pytest.raises(FormatError, match="no quantizer for IQ2_S; there is one for BF16"):
        quantize(np.zeros(256, dtype=np.float32), DTYPES["IQ2_S"])
    with pytest.raises(FormatError, match="not whole blocks"):
        quantize(np.zeros((2, 31), dtype=np.float32), DTYPES["Q4_0"])
    with pytest.raises(FormatError, match="not whole blocks"):
        quantize(np.float32(1), DTYPES["Q4_0"])
    with pytest.raises(FormatError, match="NaN or infinity"):
        quantize(np.full(32, np.nan, dtype=np.float32), DTYPES["Q8_0"])


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_random_blocks_are_sensible_weights(name: str) -> None:
    dtype = DTYPES[name]
    rows = random_blocks(dtype, 16, 1024, np.random.default_rng(7))
    values = dequantize(rows, dtype)
    rms = np.sqrt(np.mean(np.square(values), axis=1))
    assert rows.shape == (16, dtype.row_nbytes(1024))
    assert np.isfinite(values).all()
    assert (rms > 0.012).all()
    assert (rms < 3).all()
    np.testing.assert_array_equal(rows, random_blocks(dtype, 16, 1024, np.random.default_rng(7)))


def test_random_blocks_carry_their_sums() -> None:
    rng = np.random.default_rng(3)
    q8_1 = random_blocks(DTYPES["Q8_1"], 2, 64, rng).reshape(-1, 36).view(LAYOUTS["Q8_1"])[:, 0]
    sums = q8_1["d"][:, 0].astype(np.float64) * q8_1["qs"].sum(axis=1)
    np.testing.assert_allclose(q8_1["s"][:, 0], sums, rtol=1e-3)
    q8_k = random_blocks(DTYPES["Q8_K"], 1, 256, rng).view(LAYOUTS["Q8_K"])[0, 0]
    assert q8_k["bsums"].tolist() == [int(q8_k["qs"][i : i + 16].sum()) for i in range(0, 256, 16)]


def test_random_blocks_refuses_plain_types() -> None:
    with pytest.raises(FormatError, match="F32 has no blocks"):
        random_blocks(DTYPES["F32"], 1, 32, np.random.default_rng(0))


def fp8_value(code: int, exponent_bits: int, bias: int) -> float:
    """By the definition, in float64: (-1)^s 2^(e - bias) (1 + m), or 2^(1 - bias) m where e is 0."""
    mantissa_bits = 7 - exponent_bits
    bits = f"{code:08b}"
    sign, exponent, mantissa = bits[0], int(bits[1 : 1 + exponent_bits], 2), int(bits[1 + exponent_bits :], 2)
    fraction = mantissa / 2**mantissa_bits
    magnitude = 2.0 ** (exponent - bias) * (1 + fraction) if exponent else 2.0 ** (1 - bias) * fraction
    return -magnitude if sign == "1" else magnitude


FP8 = {
    "F8_E4M3": (4, 7, {0x7F: np.nan, 0xFF: np.nan}),
    "F8_E5M2": (5, 15, {0x7C: np.inf, 0xFC: -np.inf, **{s | m: np.nan for s in (0, 0x80) for m in (0x7D, 0x7E, 0x7F)}}),
    "F8_E4M3FNUZ": (4, 8, {0x80: np.nan}),
    "F8_E5M2FNUZ": (5, 16, {0x80: np.nan}),
}
"""Exponent bits, bias, special codes: arXiv:2209.05433, table 1; arXiv:2206.02915."""


@pytest.mark.parametrize("name", FP8)
def test_every_code_of_8_bit_floats(name: str) -> None:
    exponent_bits, bias, special = FP8[name]
    expected = [special.get(code, fp8_value(code, exponent_bits, bias)) for code in range(256)]
    values = dequantize(np.arange(256, dtype=np.uint8), DTYPES[name])
    np.testing.assert_array_equal(values.astype(np.float64), expected)
    zeros = [code for code in range(256) if expected[code] == 0]
    np.testing.assert_array_equal(np.signbit(values[zeros]), [code >= 0x80 for code in zeros])


def test_exponents_are_powers_of_two() -> None:
    values = dequantize(np.arange(256, dtype=np.uint8), DTYPES["F8_E8M0"]).astype(np.float64)
    np.testing.assert_array_equal(values, [*(2.0 ** (e - 127) for e in range(255)), np.nan])


@pytest.mark.parametrize(("name", "largest", "beyond"), [("F8_E4M3", 448, np.nan), ("F8_E5M2", 57344, np.inf)])
def test_quantizing_to_8_bit_floats(name: str, largest: float, beyond: float) -> None:
    """Codes come back as they were; between two values the nearer is taken, the even code in the middle."""
    dtype = DTYPES[name]
    values = dequantize(np.arange(256, dtype=np.uint8), dtype)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(quantize(values, dtype)[finite], np.arange(256)[finite])
    ladder = values[: np.searchsorted(values[:0x80], largest) + 1]
    middle = (ladder[1:] + ladder[:-1]) / 2
    codes = np.arange(len(middle))
    np.testing.assert_array_equal(quantize(middle, dtype), codes + codes % 2)
    np.testing.assert_array_equal(quantize(-np.nextafter(middle, np.float32(0)), dtype), 0x80 | codes)
    np.testing.assert_array_equal(quantize(np.nextafter(middle, np.float32(np.inf)), dtype), codes + 1)
    halfway = largest + (ladder[-1] - ladder[-2]) / 2
    outside = np.array([np.nextafter(np.float32(halfway), np.float32(np.inf)), np.inf, 1e30], np.float32)
    np.testing.assert_array_equal(dequantize(quantize(outside, dtype), dtype), [beyond] * 3)
    assert np.isnan(dequantize(quantize(np.array([np.nan], np.float32), dtype), dtype)).all()
