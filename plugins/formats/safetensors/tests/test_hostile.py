"""Every malformed file ends in a FormatError that says where and what, fast and in little memory."""

from __future__ import annotations

import os
import re
import runpy
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.errors import FormatError
from realizar_safetensors.header import MAX_METADATA_NBYTES, MAX_TENSORS
from realizar_safetensors.reader import read_model

CORPUS = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))
CASES, INDEXES, VALID = CORPUS["CASES"], CORPUS["INDEXES"], CORPUS["VALID"]

MAX_PEAK_NBYTES = 50_000_000
MAX_SECONDS = 5


@contextmanager
def guarded() -> Iterator[None]:
    """Fail after 5 seconds (where the system has an alarm) or above 50 MB."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"not done after {MAX_SECONDS} s")

    has_alarm = hasattr(signal, "SIGALRM")
    if has_alarm:
        previous = signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        if has_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
    assert peak <= MAX_PEAK_NBYTES


def open_and_use(path: Path) -> None:
    """Open a file and touch everything in it."""
    file = read_model(path)
    try:
        for tensor in file.tensors.values():
            assert tensor.read().nbytes == tensor.nbytes
            tensor.to_float32()
    finally:
        file.close()


@pytest.mark.parametrize("name", CASES)
def test_malformed_file_is_refused(name: str, tmp_path: Path) -> None:
    content, words = CASES[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with guarded(), pytest.raises(FormatError) as caught:
        read_model(path)
    message = str(caught.value)
    assert re.search(r"bad\.safetensors: offset \d+: found .+, expected .+", message, re.DOTALL), message
    assert words in message
    offset = int(message.split("offset ")[1].split(":")[0])
    assert offset <= len(content)


@pytest.mark.parametrize("name", VALID)
def test_valid_variant_opens(name: str, tmp_path: Path) -> None:
    path = tmp_path / "good.safetensors"
    path.write_bytes(VALID[name])
    with guarded():
        open_and_use(path)


@pytest.mark.parametrize("name", INDEXES)
def test_bad_index_is_refused(name: str, tmp_path: Path) -> None:
    files, words = INDEXES[name]
    CORPUS["write_directory"](tmp_path, files)
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        with guarded(), pytest.raises(FormatError, match=r"found .+, expected|valid JSON|nested") as caught:
            read_model(path)
        assert words in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="the system has no symbolic links")
class TestLinks:
    """A link may lead to a neighbour and into the cache it lies in, nowhere else."""

    def test_out_of_the_directory(self, tmp_path: Path) -> None:
        (tmp_path / "secret.safetensors").write_bytes(CORPUS["SHARD"])
        folder = tmp_path / "model"
        CORPUS["write_directory"](folder, CORPUS["index"]({"t": CORPUS["A"]}))
        (folder / CORPUS["A"]).symlink_to(tmp_path / "secret.safetensors")
        with pytest.raises(FormatError, match="a link to .*secret"):
            read_model(folder)

    def test_to_a_neighbour(self, tmp_path: Path) -> None:
        CORPUS["write_directory"](tmp_path, {**CORPUS["index"]({"t": CORPUS["A"]}), "x.safetensors": CORPUS["SHARD"]})
        (tmp_path / CORPUS["A"]).symlink_to("x.safetensors")
        open_and_use(tmp_path)

    @pytest.mark.parametrize("folder", ["snapshots/0123abc", "snapshots/0123abc/part"])
    def test_into_the_blobs_of_the_cache(self, folder: str, tmp_path: Path) -> None:
        cache = tmp_path / "models--org--name"
        snapshot = cache / folder
        up = "/".join([".."] * (folder.count("/") + 1))
        CORPUS["write_directory"](cache / "blobs", {"sha": CORPUS["SHARD"], **CORPUS["index"]({"t": CORPUS["A"]})})
        snapshot.mkdir(parents=True)
        (snapshot / CORPUS["A"]).symlink_to(f"{up}/blobs/sha")
        (snapshot / "model.safetensors.index.json").symlink_to(f"{up}/blobs/model.safetensors.index.json")
        open_and_use(snapshot)
        moved = cache.rename(tmp_path / "somewhere")
        with pytest.raises(FormatError, match="a link to .*blobs"):
            read_model(moved / folder)


@pytest.mark.parametrize("name", ["every_type", "spaces"])
def test_every_truncation_is_refused(name: str, tmp_path: Path) -> None:
    content = VALID[name]
    path = tmp_path / "cut.safetensors"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(FormatError, match=r"cut\.safetensors: offset \d+: found"):
            read_model(path)


def test_script_writes_the_corpus(tmp_path: Path) -> None:
    CORPUS["main"](tmp_path / "corpus")
    found = {path.stem if path.is_file() else path.name for path in (tmp_path / "corpus").iterdir()}
    assert found == {*CASES, *VALID, *(f"index_{name}" for name in INDEXES)}


def header_file(path: Path, header: bytes) -> Path:
    path.write_bytes(CORPUS["file"](header))
    return path


def test_a_header_of_100_megabytes_costs_little(tmp_path: Path) -> None:
    """Half of it are spaces, half one string too long for a name: neither is copied."""
    path = tmp_path / "big.safetensors"
    for header in (b"{" + b" " * 99_999_998, b'{"' + b"a" * 99_999_998, b'{"a":' + b"{" * 99_999_990):
        header_file(path, header)
        with guarded(), pytest.raises(FormatError, match="offset"):
            read_model(path)


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    one = b'":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    names = [b'"%d' % i for i in range(MAX_TENSORS + 1)]
    path = header_file(tmp_path / "many.safetensors", b"{" + b",".join(name + one for name in names) + b"}")
    with pytest.raises(FormatError, match=f"at most {MAX_TENSORS}"):
        read_model(path)
    header_file(path, b"{" + b",".join(name + one for name in names[:-1]) + b"}")
    file = read_model(path)
    assert len(file.tensors) == MAX_TENSORS
    file.close()


def test_metadata_is_bounded(tmp_path: Path) -> None:
    path = header_file(tmp_path / "m.safetensors", b'{"__metadata__":{"a":"%s"}}' % (b"x" * MAX_METADATA_NBYTES))
    with guarded(), pytest.raises(FormatError, match="a JSON string of at most"):
        read_model(path)
    half = b"x" * (MAX_METADATA_NBYTES // 2)
    header_file(path, b'{"__metadata__":{"a":"%s","b":"%s"}}' % (half, half))
    with guarded(), pytest.raises(FormatError, match="the value of 'b'"):
        read_model(path)


BYTES = st.sampled_from([*b'0"{}[],:\\ ', 0, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
MUTATION = st.tuples(st.integers(0, 1 << 20), BYTES)


@settings(max_examples=400, deadline=MAX_SECONDS * 1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["every_type", "spaces", "metadata_only", "empty_tensors", "escaped_name"]),
    mutations=st.lists(MUTATION, min_size=1, max_size=6),
)
def test_mutated_file_gives_only_format_errors(name: str, mutations: list[tuple[int, int]], tmp_path: Path) -> None:
    content = bytearray(VALID[name])
    for at, byte in mutations:
        content[at % len(content)] = byte
    path = tmp_path / "mutated.safetensors"
    path.write_bytes(content)
    with guarded():
        try:
            open_and_use(path)
        except FormatError as error:
            assert "mutated.safetensors: offset " in str(error)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**65) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["dtype", "shape", "data_offsets", "strides"])
ENTRIES = st.dictionaries(FIELDS, st.sampled_from(["F32", "U8", [4], [0, 4], [0, 16], []]) | JSON_VALUES, max_size=4)


@settings(max_examples=400, deadline=MAX_SECONDS * 1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.dictionaries(st.text(max_size=8) | st.just("__metadata__"), ENTRIES | JSON_VALUES, max_size=3))
def test_any_json_gives_only_format_errors(header: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "any.safetensors"
    path.write_bytes(CORPUS["file"](header, bytes(16)))
    with guarded():
        try:
            open_and_use(path)
        except FormatError as error:
            assert "any.safetensors: offset " in str(error)
