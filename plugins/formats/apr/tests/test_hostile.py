"""Every malformed file ends in a FormatError that says where and what, fast and in little memory."""

from __future__ import annotations

import contextlib
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
from realizar_apr import trailer
from realizar_apr.format import APR
from realizar_apr.plugin import realizar_formats
from realizar_apr.reader import read_apr

CORPUS = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))
CASES, DAMAGED, VALID = CORPUS["CASES"], CORPUS["DAMAGED"], CORPUS["VALID"]

MAX_PEAK_NBYTES = 50_000_000
MAX_SECONDS = 5

HOSTILE = settings(
    max_examples=400, deadline=MAX_SECONDS * 1000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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
    file = read_apr(path)
    try:
        for tensor in file.tensors.values():
            assert tensor.read().nbytes == tensor.nbytes
            assert tensor.to_float32().shape == tensor.shape
    finally:
        file.close()


@pytest.mark.parametrize("name", CASES)
def test_malformed_file_is_refused(name: str, tmp_path: Path) -> None:
    content, words = CASES[name]
    path = tmp_path / "bad.apr"
    path.write_bytes(content)
    with guarded(), pytest.raises(FormatError) as caught:
        read_apr(path)
    message = str(caught.value)
    assert re.match(r"bad\.apr: offset \d+: ", message), message
    assert re.search(r"found .+, expected .+|valid JSON|nested", message, re.DOTALL), message
    assert words in message


def test_other_layouts_are_ours_to_refuse() -> None:
    """They are recognized, so that the message comes from here; anything else is not."""
    (apr,) = realizar_formats()
    for name in CORPUS["VARIANTS"]:
        head = CORPUS["VARIANTS"][name][0]
        assert apr.sniff(Path("file"), head) == (0 if name == "another_magic" else 100)
    assert apr.sniff(Path("file.apr"), b"") == 50


@pytest.mark.parametrize("name", VALID)
def test_valid_variant_opens(name: str, tmp_path: Path) -> None:
    path = tmp_path / "good.apr"
    path.write_bytes(VALID[name])
    with guarded():
        open_and_use(path)
        assert list(APR().verify(path)) == []


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_found_by_those_who_look(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening does not read the whole file."""
    path = tmp_path / "bad.apr"
    path.write_bytes(DAMAGED[name])
    open_and_use(path)
    monkeypatch.setattr(trailer, "SLICE_NBYTES", 100)
    (finding,) = APR().verify(path)
    assert re.match(r"bad\.apr: offset 256: found checksum [0-9a-f]{8} of the file, expected [0-9a-f]{8}; ", finding)


@pytest.mark.parametrize("name", CASES)
def test_malformed_file_is_not_verified(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.apr"
    path.write_bytes(CASES[name][0])
    with guarded(), contextlib.suppress(FormatError):
        assert list(APR().verify(path)) == []


@pytest.mark.parametrize("name", ["reference", "lz4", "zstd", "config"])
def test_every_truncation_is_refused(name: str, tmp_path: Path) -> None:
    """But for one that takes the trailer and padding only."""
    content = VALID[name]
    path = tmp_path / "cut.apr"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            open_and_use(path)
        except FormatError as error:
            assert re.match(r".*cut\.apr: offset \d+: ", str(error)), error
        else:
            assert length >= len(content) - 64, f"cut to {length} of {len(content)} bytes: opened"


def test_script_writes_the_corpus(tmp_path: Path) -> None:
    CORPUS["main"](tmp_path / "corpus")
    assert {path.stem for path in (tmp_path / "corpus").iterdir()} == {*CASES, *DAMAGED, *VALID}


def resealed(content: bytearray) -> bytes:
    """With the checksum of the header put right, so that damage reaches what lies behind it."""
    if len(content) < 64:
        return bytes(content)
    return CORPUS["with_front"](bytes(content), 0, b"")


MUTATION = st.tuples(st.integers(0, 1 << 20), st.sampled_from([*b'0"{}[],:', 0, 1, 0x7F, 0x80, 0xFF]))


@HOSTILE
@given(
    name=st.sampled_from(["reference", "no_trailer", "config", "tied", "lz4", "zstd"]),
    mutations=st.lists(MUTATION, min_size=1, max_size=6),
)
def test_mutated_file_gives_only_format_errors(name: str, mutations: list[tuple[int, int]], tmp_path: Path) -> None:
    content = bytearray(VALID[name])
    for at, byte in mutations:
        content[at % len(content)] = byte
    path = tmp_path / "mutated.apr"
    path.write_bytes(resealed(content))
    with guarded():
        try:
            open_and_use(path)
        except FormatError as error:
            assert "mutated.apr: offset " in str(error)


KEYS = st.sampled_from([*CORPUS["CONFIG"], *CORPUS["WORDS"], "tokenizer.scores", "realizar.layout", "realizar.config",
    "realizar.tokenizer", "realizar.source", "tied_embeddings", "head_dim", "rope_scaling", "format", "model_config",
    "num_experts", "layer_types", "original_format", "chat_template"])  # fmt: skip
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**65) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
LIKELY = st.sampled_from([0, 1, 2, 8, "llama", "gemma3_text", "mixtral", "gguf", "entrenar-checkpoint", {}, []])


@HOSTILE
@given(changes=st.dictionaries(KEYS, LIKELY | JSON_VALUES, max_size=4))
def test_any_metadata_gives_only_format_errors(changes: dict[str, object], tmp_path: Path) -> None:
    """Configurations that cannot be followed are said, not raised."""
    path = tmp_path / "any.apr"
    metadata = {**CORPUS["CONFIG"], **CORPUS["WORDS"], **changes}
    names = ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "blk.0.attn_k.weight"]
    records = [CORPUS["record"](name, 0, (3, 8), i * 128, 96) for i, name in enumerate(names)]
    path.write_bytes(CORPUS["file"](metadata, records, bytes(384)))
    with guarded():
        try:
            open_and_use(path)
        except FormatError as error:
            assert "any.apr: offset " in str(error)
