from __future__ import annotations

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar.model import TokenizerSpec
from realizar_sentencepiece.tokenizer import SentencePieceTokenizer

FIRST_BYTE = 5
"""The id of <0x00> in `small`."""


@pytest.fixture(scope="module")
def tokenizer(small: TokenizerSpec) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(small)


def byte_ids(data: bytes) -> list[int]:
    return [FIRST_BYTE + byte for byte in data]


def test_a_character_appears_when_it_is_whole(tokenizer: SentencePieceTokenizer) -> None:
    stream = tokenizer.stream()
    pushed = [stream.push(i) for i in byte_ids("aé\N{GRINNING FACE}".encode())]
    assert pushed == ["a", "", "é", "", "", "", "\N{GRINNING FACE}"]
    assert stream.finish() == ""


def test_each_byte_of_a_broken_character_is_replaced(tokenizer: SentencePieceTokenizer) -> None:
    stream = tokenizer.stream()
    assert [stream.push(i) for i in byte_ids(b"\xe6\x97")] == ["", ""]
    assert stream.finish() == "\ufffd\ufffd"
    assert stream.push(byte_ids(b"a")[0]) == "a"
    whole = tokenizer.spec.tokens.index("日")
    assert tokenizer.decode([*byte_ids(b"\xe6\x97"), whole, *byte_ids(b"\xff")]) == "\ufffd\ufffd日\ufffd"


def test_the_added_space_goes_and_no_other(tokenizer: SentencePieceTokenizer) -> None:
    the = tokenizer.spec.tokens.index("▁the")
    space = tokenizer.spec.tokens.index("▁")
    two = tokenizer.spec.tokens.index("▁▁")
    assert tokenizer.decode([the, the]) == "the the"
    assert tokenizer.decode([space, the]) == " the"
    assert tokenizer.decode([two, the]) == "  the"
    assert tokenizer.decode([1, the]) == "the"
    assert tokenizer.decode([1, the], skip_special_tokens=False) == "<s> the"
    assert tokenizer.decode(byte_ids(b" a")) == " a"


def test_without_an_added_space_none_goes(small: TokenizerSpec) -> None:
    tokenizer = SentencePieceTokenizer(attrs.evolve(small, add_space_prefix=False))
    assert tokenizer.decode([tokenizer.spec.tokens.index("▁the")]) == " the"


def test_where_spaces_are_thinned_out_all_single_ones_go(small: TokenizerSpec) -> None:
    tokenizer = SentencePieceTokenizer(attrs.evolve(small, remove_extra_whitespaces=True))
    space, the = map(tokenizer.spec.tokens.index, ("▁", "▁the"))
    assert tokenizer.decode([space, space, the, the]) == "the the"


@pytest.mark.parametrize("thinned", [False, True])
@given(data=st.data())
def test_pushed_pieces_make_the_whole(small: TokenizerSpec, thinned: bool, data: st.DataObject) -> None:
    tokenizer = SentencePieceTokenizer(attrs.evolve(small, remove_extra_whitespaces=thinned))
    ids = data.draw(st.lists(st.integers(0, len(tokenizer.spec.tokens) - 1)))
    skip = data.draw(st.booleans())
    stream = tokenizer.stream(skip_special_tokens=skip)
    for _ in range(2):
        whole = tokenizer.decode(ids, skip_special_tokens=skip)
        assert "".join(map(stream.push, ids)) + stream.finish() == whole
