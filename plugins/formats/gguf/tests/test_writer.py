"""What is written is read back: every type, both versions, both byte orders, any alignment."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.dtypes import DTYPES, dtype
from realizar.errors import FormatError
from realizar_gguf.byteorder import SWAPPABLE
from realizar_gguf.encoding import Typed
from realizar_gguf.ggml_types import NUMBERS
from realizar_gguf.metadata import ValueType
from realizar_gguf.reader import read_gguf
from realizar_gguf.shard import open_shard
from realizar_gguf.writer import write_gguf


def stored_tensor(name: str, rows: int = 3) -> tuple[str, tuple[int, ...], object, np.ndarray]:
    """A tensor of type `name` with random bytes."""
    kind = dtype(name)
    shape = (rows, 2 * kind.block_size)
    raw = np.random.default_rng(7).integers(0, 256, rows * 2 * kind.block_nbytes, np.uint8)
    stored = raw.view(kind.storage).reshape(rows, -1)
    return f"tensor_{name}", shape, kind, stored


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_tensors_round_trip(version: int, byteorder: str, alignment: int, tmp_path: Path) -> None:
    path = tmp_path / "all.gguf"
    names = sorted(NUMBERS if byteorder == "little" else SWAPPABLE)
    tensors = [stored_tensor(name) for name in names]
    write_gguf(path, {"a": 1}, tensors, version=version, byteorder=byteorder, alignment=alignment)  # type: ignore[arg-type]
    file = read_gguf(path)
    assert (file.metadata["gguf.version"], file.metadata["gguf.byteorder"]) == (version, byteorder)
    for name, shape, kind, stored in tensors:
        found = file.tensors[name]
        assert (found.shape, found.dtype) == (shape, kind)
        assert found.read().dtype == np.dtype(kind.storage)  # type: ignore[attr-defined]
        assert found.read().tobytes() == stored.tobytes()
        assert not found.read().flags.writeable
    assert all(info.offset % alignment == 0 for info in open_shard(path).tensors)


def test_every_type_of_ggml_can_be_written() -> None:
    """All but those that only Safetensors has."""
    others = {"BOOL", "U8", "U16", "U32", "U64"} | {name for name in DTYPES if name.startswith("F8_")}
    assert set(NUMBERS) == set(DTYPES) - others


def test_big_endian_bytes_are_where_the_block_layouts_put_them(tmp_path: Path) -> None:
    """Q4_K: two halves at 0 and 2; Q6_K: one at 208; MXFP4: none; F16 and I64: every element."""
    path = tmp_path / "big.gguf"
    tensors = [stored_tensor(name, rows=1) for name in ("Q4_K", "Q6_K", "MXFP4", "F16", "I64")]
    write_gguf(path, {}, tensors, byteorder="big")  # type: ignore[arg-type]
    raw = path.read_bytes()
    assert raw[4:8] == b"\0\0\0\3"
    for info, (_, _, kind, stored) in zip(open_shard(path).tensors, tensors, strict=True):
        expected = bytearray(stored.tobytes())
        size = kind.block_nbytes  # type: ignore[attr-defined]
        swapped = {"Q4_K": [(0, 2), (2, 2)], "Q6_K": [(208, 2)], "MXFP4": [], "F16": [(0, 2)], "I64": [(0, 8)]}
        for begin in range(0, len(expected), size):
            for at, width in swapped[info.dtype.name]:
                field = slice(begin + at, begin + at + width)
                expected[field] = expected[field][::-1]
        assert raw[info.offset : info.offset + info.nbytes] == expected


@pytest.mark.parametrize("name", ["Q4_1", "Q5_K", "IQ4_XS"])
def test_big_endian_types_without_a_layout_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "big.gguf"
    with pytest.raises(FormatError, match=f"{name}.*big-endian"):
        write_gguf(path, {}, [stored_tensor(name)], byteorder="big")  # type: ignore[list-item]
    write_gguf(path, {}, [stored_tensor("Q4_0")], byteorder="big")  # type: ignore[list-item]
    content = path.read_bytes().replace(struct.pack(">IQ", 2, 0), struct.pack(">IQ", NUMBERS[name], 0))
    path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"offset \d+: found {name} tensor 'tensor_Q4_0' in a big-endian"):
        read_gguf(path)


METADATA_VALUES = [
    (True, ValueType.BOOL, False),
    ("text", ValueType.STRING, False),
    (0.5, ValueType.FLOAT32, False),
    (7, ValueType.UINT32, False),
    (-7, ValueType.INT32, False),
    (1 << 40, ValueType.UINT64, False),
    (-(1 << 40), ValueType.INT64, False),
    ([1, -1], ValueType.INT32, True),
    ([1, 1 << 31], ValueType.UINT32, True),
    ([-1, 1 << 31], ValueType.INT64, True),
    ([1 << 63], ValueType.UINT64, True),
    (["a", "é"], ValueType.STRING, True),
    ((True, False), ValueType.BOOL, True),
    ([0.5, 2.0], ValueType.FLOAT32, True),
    (np.array([1.5], "f8"), ValueType.FLOAT64, True),
    (np.array([1, 2], ">i2"), ValueType.INT16, True),
    (Typed(ValueType.UINT8, 3), ValueType.UINT8, False),
    (Typed(ValueType.FLOAT64, 0.1), ValueType.FLOAT64, False),
    (Typed(ValueType.STRING, []), ValueType.STRING, True),
]


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_a_value_chooses_its_type(byteorder: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.gguf"
    write_gguf(path, {f"k{i}": v for i, (v, _, _) in enumerate(METADATA_VALUES)}, [], byteorder=byteorder)  # type: ignore[arg-type]
    entries = open_shard(path).metadata.entries
    for index, (value, kind, is_array) in enumerate(METADATA_VALUES):
        entry = entries[f"k{index}"]
        assert (entry.type, entry.is_array) == (kind, is_array)
        plain = value.value if isinstance(value, Typed) else value
        assert entry.value == (plain.tolist() if isinstance(plain, np.ndarray) else plain)


@pytest.mark.parametrize(
    "value",
    [[], [1, "a"], None, object(), 1 << 64, [None], Typed(ValueType.UINT8, 256), Typed(ValueType.STRING, 3),
     Typed(ValueType.UINT32, "a"), "\ud800"],
)  # fmt: skip
def test_values_that_gguf_cannot_hold(value: object, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="key_name: found"):
        write_gguf(tmp_path / "bad.gguf", {"key_name": value}, [])
    assert not list(tmp_path.iterdir())


F32 = dtype("F32")
FOUR = np.zeros(4, "<f4")


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([("a", (4,), F32, FOUR), ("a", (4,), F32, FOUR)], "twice"),
        ([("", (4,), F32, FOUR)], "empty"),
        ([("a" * 65, (4,), F32, FOUR)], "64 bytes"),
        ([("a", (4, 1, 1, 1, 1), F32, FOUR)], "up to 4"),
        ([("a", (0, 4), F32, FOUR)], "1 or more"),
        ([("a", (5,), F32, FOUR)], "expected 20 of <f4"),
        ([("a", (8,), dtype("F16"), FOUR)], "expected 16 of <f2"),
        ([("a", (33,), dtype("Q8_0"), np.zeros(34, np.uint8))], "whole blocks"),
    ],
)
def test_tensors_that_gguf_cannot_hold(tensors: list, words: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    with pytest.raises(FormatError, match=words):
        write_gguf(tmp_path / "bad.gguf", {}, tensors)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [{"version": 1}, {"alignment": 12}, {"alignment": 4}, {"tensors_per_file": 0}], ids=str
)
def test_layouts_that_gguf_does_not_have(options: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected"):
        write_gguf(tmp_path / "bad.gguf", {}, [], **options)  # type: ignore[arg-type]


def test_an_alignment_stated_twice_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "aligned.gguf"
    for stated in (64, Typed(ValueType.UINT32, 64)):
        write_gguf(path, {"general.alignment": stated}, [], alignment=64)
        assert read_gguf(path).metadata["general.alignment"] == 64
        with pytest.raises(FormatError, match="expected 32"):
            write_gguf(path, {"general.alignment": stated}, [])


def test_empty_or_endless_keys(tmp_path: Path) -> None:
    for name in ("", "k" * 65536):
        with pytest.raises(FormatError, match="expected 1 to 65535 bytes"):
            write_gguf(tmp_path / "bad.gguf", {name: 1}, [])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, {"a": 1}, [])

    def fail(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_gguf(path, {"a": 2}, [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.gguf"]
    assert read_gguf(path).metadata["a"] == 1


KEYS = st.text(min_size=1, max_size=20)
SCALARS = st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=30) | st.floats(width=32, allow_nan=False)
LISTS = (
    st.lists(st.booleans(), min_size=1, max_size=9)
    | st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=9)
    | st.lists(st.text(max_size=300), min_size=1, max_size=9)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata=st.dictionaries(KEYS, SCALARS | LISTS, max_size=6), byteorder=st.sampled_from(["little", "big"]))
def test_random_metadata_round_trips(metadata: dict[str, object], byteorder: str, tmp_path: Path) -> None:
    path = tmp_path / "random.gguf"
    write_gguf(path, metadata, [], byteorder=byteorder)  # type: ignore[arg-type]
    assert dict(open_shard(path).metadata if "general.alignment" not in metadata else metadata) == metadata
