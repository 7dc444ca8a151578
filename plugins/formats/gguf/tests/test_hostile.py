"""Every malformed file ends in a FormatError that names file, offset, found and expected, fast and in little memory."""

from __future__ import annotations

import re
import runpy
import signal
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.errors import FormatError
from realizar_gguf.arrays import VALIDATED_AT_ONCE
from realizar_gguf.metadata import MAX_ARRAY_LENGTH, MAX_STRINGS
from realizar_gguf.reader import read_gguf

CORPUS = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))
CASES, VALID = CORPUS["CASES"], CORPUS["VALID"]

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
    file = read_gguf(path)
    try:
        for tensor in file.tensors.values():
            tensor.read()
        for value in file.metadata.values():
            repr(value)
        if file.tokenizer is not None:
            list(file.tokenizer.tokens)
            list(file.tokenizer.merges or ())
    finally:
        file.close()


@pytest.mark.parametrize("name", CASES)
def test_malformed_file_is_refused(name: str, tmp_path: Path) -> None:
    content, words = CASES[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with guarded(), pytest.raises(FormatError) as caught:
        read_gguf(path)
    message = str(caught.value)
    assert re.search(r"bad\.gguf: offset \d+: found .+, expected .+", message, re.DOTALL), message
    assert words in message
    offset = int(message.split("offset ")[1].split(":")[0])
    assert offset <= len(content)


@pytest.mark.parametrize("name", VALID)
def test_valid_variant_opens(name: str, tmp_path: Path) -> None:
    path = tmp_path / "good.gguf"
    path.write_bytes(VALID[name])
    with guarded():
        open_and_use(path)


@pytest.mark.parametrize("name", ["DATA_SUCCESS", "tiny_model"])
def test_every_truncation_is_refused(name: str, tmp_path: Path) -> None:
    content = VALID[name]
    path = tmp_path / "cut.gguf"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(FormatError, match=r"cut\.gguf: offset \d+: found"):
            read_gguf(path)


def test_script_writes_the_corpus(tmp_path: Path) -> None:
    CORPUS["main"](tmp_path / "corpus")
    assert {path.stem for path in (tmp_path / "corpus").iterdir()} == {*CASES, *VALID}


def sparse_file(path: Path, kind: str, count: int) -> Path:
    """A file that proves a large count with bytes that cost nobody anything."""
    with open(path, "wb") as file:
        file.write(CORPUS["gguf"]([CORPUS["array"]("a", CORPUS[kind], [], count)]))
        file.truncate(file.tell() + 8 * count)
    return path


def test_too_many_strings_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "sparse.gguf", "STRING", MAX_STRINGS + 1)
    with guarded(), pytest.raises(FormatError, match=f"at most {MAX_STRINGS}"):
        read_gguf(path)


def test_most_strings_are_read_in_time(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "sparse.gguf", "STRING", MAX_STRINGS)
    start = time.perf_counter()
    file = read_gguf(path)
    assert time.perf_counter() - start <= MAX_SECONDS
    assert file.metadata["a"][MAX_STRINGS - 1] == ""  # type: ignore[index]


def test_strings_cost_eight_bytes_each(tmp_path: Path) -> None:
    """So the most that are allowed stay below 50 MB; few enough here that tracing them is quick."""
    count = 100_000
    path = sparse_file(tmp_path / "sparse.gguf", "STRING", count)
    tracemalloc.start()
    file = read_gguf(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(file.metadata["a"]) == count  # type: ignore[arg-type]
    validation = 6 * VALIDATED_AT_ONCE
    assert peak <= 9 * count + validation
    assert 9 * MAX_STRINGS + validation <= MAX_PEAK_NBYTES


@pytest.mark.parametrize("kind", ["U8", "BOOL", "F64"])
def test_sparse_file_of_numbers_stays_in_the_file(kind: str, tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "sparse.gguf", kind, MAX_ARRAY_LENGTH)
    with guarded():
        assert read_gguf(path).metadata["a"][MAX_ARRAY_LENGTH - 1] == 0  # type: ignore[index]


NAMES = st.sampled_from(["KV_SUCCESS", "DATA_SUCCESS", "tiny_model"])
NUMBERS = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**42 + 1, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1]
MUTATION = st.tuples(st.integers(0, 1 << 20), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))


@settings(max_examples=300, deadline=MAX_SECONDS * 1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["KV_SUCCESS", "DATA_SUCCESS", "tiny_model"]),
    mutations=st.lists(MUTATION, min_size=1, max_size=6),
)
def test_mutated_header_gives_only_format_errors(name: str, mutations: list[tuple[int, int]], tmp_path: Path) -> None:
    content = bytearray(VALID[name])
    for at, byte in mutations:
        content[at % len(content)] = byte
    path = tmp_path / "mutated.gguf"
    path.write_bytes(content)
    with guarded():
        try:
            open_and_use(path)
        except FormatError as error:
            assert "mutated.gguf: offset " in str(error)


@settings(max_examples=200, deadline=MAX_SECONDS * 1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["KV_SUCCESS", "DATA_SUCCESS", "tiny_model"]),
    at=st.integers(8, 1 << 20),
    number=st.sampled_from(
        [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**42 + 1, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1]
    ),
)
def test_overwritten_number_gives_only_format_errors(name: str, at: int, number: int, tmp_path: Path) -> None:
    content = bytearray(VALID[name])
    at = 8 + at % (len(content) - 16)
    content[at : at + 8] = number.to_bytes(8, "little")
    path = tmp_path / "mutated.gguf"
    path.write_bytes(content)
    with guarded():
        try:
            open_and_use(path)
        except FormatError as error:
            assert "mutated.gguf: offset " in str(error)
