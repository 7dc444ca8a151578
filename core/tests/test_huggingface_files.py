"""JSON files of strangers: bounded, strict, always an object; and the configuration in one."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.errors import FormatError
from realizar.huggingface.directory import HuggingFaceDirectory
from realizar.huggingface.json_file import MAX_CONTAINERS, MAX_VALUES, read_json, read_values


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "some.json"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no valid JSON"),
        (b"{", "no valid JSON"),
        (b"[1]", "found a JSON list, expected an object"),
        (b"1", "found a JSON int"),
        (b'{"a": 1, "a": 1}', "found key 'a' twice"),
        (b'{"b": {"a": 1, "c": 2, "a": 1}}', "found key 'a' twice"),
        (b'{"a": "\xff"}', "offset 7: found byte 0xff, expected UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no valid JSON"),
        (b'{"a": ' + b"[" * 900 + b"}", "no valid JSON|nested"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * 1_000_001, "found 1000001 bytes, expected at most 1000000"),
    ],
)
def test_malformed(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=rf"some\.json: .*({words})"):
        read_json(write(tmp_path, content), 1_000_000)


@pytest.mark.parametrize("content", [b'{"a":[' + b"{}," * (MAX_CONTAINERS + 1), b"{" + b"," * (MAX_VALUES + 1)])
def test_too_many_values_are_refused_before_they_are_built(content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(FormatError, match="brackets and"):
        read_json(path, 1 << 26)
    assert time.perf_counter() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 4 * len(content)
    tracemalloc.stop()


def test_any_value(tmp_path: Path) -> None:
    assert read_values(write(tmp_path, b'[1, {"a": 2}]'), 100) == [1, {"a": 2}]


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no regular file"):
        read_json(tmp_path, 100)
    with pytest.raises(FormatError, match="cannot be opened"):
        read_json(tmp_path / "absent.json", 100)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(FormatError, match="no regular file"):
        HuggingFaceDirectory(tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.text(), VALUES, max_size=5), ascii=st.booleans())
def test_objects_come_back(values: dict[str, object], ascii: bool, tmp_path: Path) -> None:
    text = json.dumps(values, ensure_ascii=ascii)
    path = write(tmp_path, text.encode("utf-8", "surrogatepass"))
    assert read_json(path, 1 << 20) == values


class TestDirectory:
    """config.json and generation_config.json."""

    def test_of_nothing(self, tmp_path: Path) -> None:
        folder = HuggingFaceDirectory(tmp_path)
        assert (folder.config, folder.generation_config, folder.metadata()) == ({}, {}, {})
        assert folder.tokenizer() == (None, "there are no tokenizer files beside it")

    def test_metadata(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "llama"}')
        assert HuggingFaceDirectory(tmp_path).metadata() == {"config.json": {"model_type": "llama"}}
