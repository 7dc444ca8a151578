"""What a type code means, by size; aprender's own numbers against the values its description gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.dtypes import DTYPES
from realizar.quant import dequantize, quantize
from realizar_apr.codes import CODES, NUMBERS, WRITABLE
from realizar_apr.encodings import encoding_of, encodings


def decoded(code, shape, raw):
    """All elements as float32, through the encoding that fits."""
    encoding = encoding_of(code, shape, len(raw))
    assert encoding is not None
    return dequantize(encoding.decode(np.frombuffer(raw, np.uint8)), encoding.dtype).reshape(shape)


COLLISIONS = [
    (2, 128, "BF16"), (2, 36, "Q4_0"), (3, 512, "F64"), (3, 40, "Q4_1"), (6, 64, "I8"), (6, 44, "Q5_0"),
    (7, 64, "U8"), (7, 48, "Q5_1"), (8, 36, "Q4_0"), (8, 68, "Q8_0"), (9, 68, "F32"), (9, 72, "Q8_1"),
    (128, 36, "Q4_0"), (129, 68, "F32"), (12, 64 * 144, "F32"), (30, 128, "BF16"), (28, 512, "F64"),
]  # fmt: skip


@pytest.mark.parametrize("code, nbytes, name", COLLISIONS)
def test_size_decides(code: int, nbytes: int, name: str) -> None:
    """64 elements; AprQ4 is read as Q4_0, AprQ8 and padded rows as F32."""
    shape = (64, 1) if name == "F32" and code == 12 else (2, 32)
    encoding = encoding_of(code, shape, nbytes)
    assert encoding is not None
    assert encoding.dtype.name == name


@pytest.mark.parametrize("code", CODES)
def test_other_sizes_mean_nothing(code: int) -> None:
    sizes = {encoding.nbytes for encoding in encodings(code, (4, 256))}
    assert len(sizes) == len(CODES[code])
    assert all(encoding_of(code, (4, 256), nbytes) is None for nbytes in range(4200 * 2) if nbytes not in sizes)


@pytest.mark.parametrize("name", sorted(WRITABLE))
def test_what_is_written_is_read(name: str) -> None:
    """The code of a type means that type at that type's size, for whole rows."""
    dtype = DTYPES[name]
    for columns in (dtype.block_size, 3 * dtype.block_size):
        encoding = encoding_of(NUMBERS[name], (2, columns), 2 * dtype.row_nbytes(columns))
        assert encoding is not None
        assert encoding.dtype.name == name


def test_a_row_of_32_in_33_blocks_could_be_either() -> None:
    """Where sizes agree, aprender's own meaning counts: 36 bytes for 32 elements are AprQ8, not one block of Q8_1."""
    encoding = encoding_of(9, (32,), 36)
    assert encoding is not None
    assert encoding.name == "AprQ8"


def test_apr_q4_vector() -> None:
    """Worked out by hand: 32 values (i - 16) / 16, largest 1, so scale 1/7 in half precision."""
    raw = bytes.fromhex("9230 11 22 33 44 54 65 76 87 88 99 aa bb cc dc ed fe")
    scale = float(np.frombuffer(raw[:2], "<f2")[0])
    nibbles = [nibble for byte in raw[2:] for nibble in (byte & 15, byte >> 4)]
    expected = np.array([(nibble - 8) * scale for nibble in nibbles])
    assert np.abs(expected - (np.arange(32) - 16) / 16).max() <= scale / 2 + 1e-3
    for code in (8, 128):
        assert np.array_equal(decoded(code, (32,), raw), expected.astype(np.float32))
        assert np.array_equal(decoded(code, (4, 5), raw), expected.astype(np.float32)[:20].reshape(4, 5))


def test_apr_q8_vector() -> None:
    raw = bytes.fromhex("0402013c 7f c0 26 9a 00 59")
    expected = np.array([1, -0.5, 0.3, -0.8, 0, 0.7])
    for code in (9, 129):
        assert np.abs(decoded(code, (2, 3), raw).reshape(-1) - expected).max() <= 0.5 / 127 + 1e-6
        assert decoded(code, (0,), b"").shape == (0,)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4))
def test_apr_q4_is_q4_0_in_another_order(seed: int, rows: int, blocks: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 256, (rows * blocks, 18), np.uint8)
    raw[:, :2] = np.frombuffer(np.float16(0.25).tobytes(), np.uint8)
    expected = [
        (nibble - 8) * 0.25 for block in raw.tolist() for byte in block[2:] for nibble in (byte & 15, byte >> 4)
    ]
    found = decoded(128, (rows, blocks * 32), raw.tobytes())
    assert found.reshape(-1).tolist() == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 100).filter(lambda n: n % 32))
def test_rows_that_end_inside_a_block(seed: int, rows: int, columns: int) -> None:
    """Padded row by row and in one run: both are found by their size, and give what was stored."""
    q8_0, rng = DTYPES["Q8_0"], np.random.default_rng(seed)
    values = rng.standard_normal((rows, columns)).astype(np.float32)
    by_row = np.zeros((rows, -(-columns // 32) * 32), np.float32)
    by_row[:, :columns] = values
    one_run = np.zeros(-(-values.size // 32) * 32, np.float32)
    one_run[: values.size] = values.reshape(-1)
    for padded in (by_row, one_run):
        stored = quantize(padded, q8_0)
        expected = dequantize(stored, q8_0)
        cut = expected[:, :columns] if expected.ndim == 2 else expected[: values.size].reshape(rows, columns)
        if padded is by_row or stored.nbytes != rows * math.ceil(columns / 32) * 34:
            assert np.array_equal(decoded(8, (rows, columns), stored.tobytes()), cut)
