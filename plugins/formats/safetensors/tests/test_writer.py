"""What is written is read back bit by bit; what Safetensors cannot hold is refused; nothing half-written stays."""

from __future__ import annotations

import json
import math
import os
import runpy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.dtypes import DTYPES, dtype
from realizar.errors import FormatError
from realizar.tensors import LazyTensor
from realizar.testing.models import memory_tensor
from realizar_safetensors.header import MAX_METADATA_NBYTES, NAMES
from realizar_safetensors.reader import read_model
from realizar_safetensors.writer import write_safetensors

ALL = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))["ALL"]


def stored_tensor(name: str, shape: tuple[int, ...], kind: str = "F32", seed: int = 0) -> LazyTensor:
    """Random bytes, NaNs and all."""
    element = dtype(kind)
    raw = np.random.default_rng(seed).integers(0, 256, math.prod(shape) * element.block_nbytes, np.uint8)
    return memory_tensor(name, raw.view(element.storage).reshape(shape), element)


def raw_header(path: Path) -> dict[str, dict[str, object]]:
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # type: ignore[no-any-return]


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
TENSORS = st.dictionaries(
    TEXT.filter(lambda name: name != "__metadata__"),
    st.tuples(st.lists(st.integers(0, 4), max_size=4), st.sampled_from(NAMES), st.integers(0, 99)),
    max_size=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tensors=TENSORS,
    metadata=st.dictionaries(TEXT, TEXT, max_size=4),
    max_shard_nbytes=st.none() | st.integers(1, 400),
)
def test_anything_round_trips(
    tensors: dict[str, tuple[list[int], str, int]],
    metadata: dict[str, str],
    max_shard_nbytes: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("random")
    given_ = [stored_tensor(name, tuple(shape), kind, seed) for name, (shape, kind, seed) in tensors.items()]
    paths = write_safetensors(folder / "model.safetensors", given_, metadata, max_shard_nbytes=max_shard_nbytes)
    assert sorted(paths) == sorted(folder.iterdir())
    model = read_model(folder)
    assert dict(model.metadata) == metadata
    assert set(model.tensors) == set(tensors)
    for tensor in given_:
        found = model.tensors[tensor.name]
        assert (found.shape, found.dtype) == (tensor.shape, tensor.dtype)
        assert found.read().shape == tensor.shape
        assert found.read().tobytes() == tensor.read().tobytes()
        assert found.read().flags.aligned
    model.close()


def test_the_layout_of_a_file(tmp_path: Path) -> None:
    """Byte by byte: size, compact JSON padded with spaces to 8 bytes, wide numbers first."""
    path = tmp_path / "a.safetensors"
    small = memory_tensor("a", np.array([7], np.uint8), dtype("U8"))
    wide = memory_tensor("b", np.array([[1.0]], "<f4"), dtype("F32"))
    write_safetensors(path, [small, wide], {"format": "pt"})
    header = (
        b'{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}}'
    )
    padded = header + b" " * (-len(header) % 8)
    assert path.read_bytes() == len(padded).to_bytes(8, "little") + padded + b"\0\0\x80\x3f\7"


def test_types_are_all_of_the_corpus() -> None:
    assert set(NAMES) == set(ALL)


class TestShards:
    """Files of at most so many bytes, and an index."""

    def test_names_index_and_order(self, tmp_path: Path) -> None:
        tensors = [stored_tensor(name, (4,)) for name in "abc"] + [stored_tensor("big", (100,))]
        paths = write_safetensors(tmp_path / "m.safetensors", tensors, {"k": "v"}, max_shard_nbytes=32)
        names = [f"m-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
        assert [path.name for path in paths] == [*names, "m.safetensors.index.json"]
        index = json.loads(paths[-1].read_text())
        assert index["metadata"] == {"total_size": 448}
        assert index["weight_map"] == {"a": names[0], "b": names[0], "c": names[1], "big": names[2]}
        assert [raw_header(path)["__metadata__"] for path in paths[:-1]] == [{"k": "v"}] * 3

    def test_one_shard_is_the_file_itself(self, tmp_path: Path) -> None:
        paths = write_safetensors(tmp_path / "m.safetensors", [stored_tensor("a", (4,))], max_shard_nbytes=16)
        assert paths == [tmp_path / "m.safetensors"]

    @pytest.mark.parametrize(("nbytes", "words"), [(0, "1 or more"), (1, "at most 1024")])
    def test_refusals(self, nbytes: int, words: str, tmp_path: Path) -> None:
        tensors = [stored_tensor(f"t{i}", (1,)) for i in range(1025)]
        with pytest.raises(FormatError, match=words):
            write_safetensors(tmp_path / "m.safetensors", tensors, max_shard_nbytes=nbytes)
        assert not list(tmp_path.iterdir())


def test_tensors_are_read_one_at_a_time(tmp_path: Path) -> None:
    """Each is released before the next is read; memory holds one."""
    events: list[str] = []

    def tensor(name: str) -> LazyTensor:
        def read() -> np.ndarray:
            events.append(f"read {name}")
            return np.zeros(1 << 20, "<f4")

        return LazyTensor(name, (1 << 20,), dtype("F32"), name, read, lambda: events.append(f"release {name}"))

    tensors = [tensor(name) for name in "abcdef"]
    tracemalloc.start()
    write_safetensors(tmp_path / "m.safetensors", tensors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert events == [f"{event} {name}" for name in "abcdef" for event in ("read", "release")]
    assert peak < 3 * (4 << 20)


FOUR = stored_tensor("a", (4,))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([FOUR, FOUR], "twice"),
        ([stored_tensor("__metadata__", (4,))], "reserved"),
        ([stored_tensor("n" * 1025, (4,))], "at most 1024"),
        ([stored_tensor("\ud800", (4,))], "surrogate"),
        ([stored_tensor("a", (1,) * 9)], "9 dimensions"),
        ([memory_tensor("a", np.zeros((1, 18), np.uint8), dtype("Q4_0"))], "found Q4_0.*convert the tensor first"),
        ([LazyTensor("a", (5,), dtype("F32"), "here", FOUR.read)], "here: found 16 bytes of float32, expected 20"),
        ([LazyTensor("a", (4,), dtype("I32"), "here", FOUR.read)], "expected 16 of <i4"),
    ],
)
def test_tensors_that_safetensors_cannot_hold(tensors: list[LazyTensor], words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=words):
        write_safetensors(tmp_path / "bad.safetensors", tensors)
    assert not list(tmp_path.iterdir())


def test_every_type_is_written_or_refused(tmp_path: Path) -> None:
    for name, element in DTYPES.items():
        stored = np.zeros((1, element.block_nbytes), np.uint8).view(element.storage)
        tensors = [memory_tensor("t", stored, element)]
        if name in NAMES:
            write_safetensors(tmp_path / "t.safetensors", tensors)
            assert read_model(tmp_path).tensors["t"].dtype == element
        else:
            with pytest.raises(FormatError, match=name):
                write_safetensors(tmp_path / "t.safetensors", tensors)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"a": 1}, "expected text"),
        ({1: "a"}, "expected text"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": "x" * MAX_METADATA_NBYTES}, "at most 16777216"),
    ],
    ids=["number", "number_key", "surrogate", "long"],
)
def test_metadata_that_safetensors_cannot_hold(metadata: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=words):
        write_safetensors(tmp_path / "bad.safetensors", [], metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("max_shard_nbytes", [None, 16])
def test_a_failed_write_leaves_the_old_file(
    max_shard_nbytes: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    write_safetensors(path, [stored_tensor("a", (4,))])

    def fail(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_safetensors(path, [stored_tensor(name, (4,)) for name in "bc"], max_shard_nbytes=max_shard_nbytes)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]
    assert list(read_model(path).tensors) == ["a"]
