from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar.model import TokenizerSpec
from realizar_bpe.tokenizer import BpeTokenizer


@pytest.fixture(scope="module")
def tokenizer(small: TokenizerSpec) -> BpeTokenizer:
    return BpeTokenizer(small)


def byte_ids(tokenizer: BpeTokenizer, data: bytes) -> list[int]:
    by_bytes = {tokenizer.token_bytes(i): i for i in range(256)}
    return [by_bytes[bytes([byte])] for byte in data]


def test_a_character_appears_when_it_is_whole(tokenizer: BpeTokenizer) -> None:
    stream = tokenizer.stream()
    pushed = [stream.push(i) for i in byte_ids(tokenizer, "aé\N{GRINNING FACE}".encode())]
    assert pushed == ["a", "", "é", "", "", "", "\N{GRINNING FACE}"]
    assert stream.finish() == ""


def test_what_is_left_becomes_a_replacement_character(tokenizer: BpeTokenizer) -> None:
    stream = tokenizer.stream()
    assert [stream.push(i) for i in byte_ids(tokenizer, b"\xe6\x97")] == ["", ""]
    assert stream.finish() == "\ufffd"
    assert stream.push(byte_ids(tokenizer, b"a")[0]) == "a"


def test_a_special_token_does_not_break_a_character(tokenizer: BpeTokenizer) -> None:
    first, second = byte_ids(tokenizer, "é".encode())
    ids = [first, tokenizer.spec.eos_token_ids[0], second]
    for skip, text in ((True, "é"), (False, "\ufffd</s>\ufffd")):
        stream = tokenizer.stream(skip_special_tokens=skip)
        assert (
            "".join(map(stream.push, ids)) + stream.finish() == text == tokenizer.decode(ids, skip_special_tokens=skip)
        )


@given(st.data())
def test_pushed_pieces_make_the_whole(tokenizer: BpeTokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(tokenizer.spec.tokens) - 1)))
    skip = data.draw(st.booleans())
    stream = tokenizer.stream(skip_special_tokens=skip)
    assert "".join(map(stream.push, ids)) + stream.finish() == tokenizer.decode(ids, skip_special_tokens=skip)


@given(st.binary(max_size=30))
def test_any_bytes_stream_as_python_decodes_them(tokenizer: BpeTokenizer, data: bytes) -> None:
    stream = tokenizer.stream()
    text = "".join(map(stream.push, byte_ids(tokenizer, data))) + stream.finish()
    assert text == data.decode(errors="replace")
