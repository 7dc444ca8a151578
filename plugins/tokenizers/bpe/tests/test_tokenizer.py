from __future__ import annotations

import time
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar.errors import TokenizerError
from realizar.model import NORMAL, UNKNOWN, USER_DEFINED, TokenizerSpec
from realizar_bpe.pretokenizers import PRE_TOKENIZERS
from realizar_bpe.tokenizer import CACHED_WORD_LENGTH, BpeTokenizer

ABC = TokenizerSpec(
    model="bpe", tokens=["a", "b", "c", "ab", "bc", "abc"], source="x.gguf", pre="gpt-2", merges=["b c", "a b"]
)


@pytest.fixture(scope="module")
def tokenizer(small: TokenizerSpec) -> BpeTokenizer:
    return BpeTokenizer(small)


def pieces(tokenizer: BpeTokenizer, ids: list[int]) -> list[str]:
    return [tokenizer.spec.tokens[i] for i in ids]


def test_words_become_pieces(tokenizer: BpeTokenizer) -> None:
    ids = tokenizer.encode("the tower", add_special_tokens=False)
    assert pieces(tokenizer, ids) == ["the", "Ġtower"]
    assert tokenizer.encode("") == [tokenizer.spec.bos_token_id]


def test_bos_and_eos_follow_the_flags(small: TokenizerSpec, added_ids: Any) -> None:
    both = BpeTokenizer(attrs.evolve(small, add_eos_token=True))
    bare = both.encode("low", add_special_tokens=False)
    assert both.encode("low") == [added_ids.bos, *bare, added_ids.eos]
    assert BpeTokenizer(attrs.evolve(small, add_bos_token=False)).encode("low") == bare


def test_control_tokens_are_plain_text_unless_asked_for(tokenizer: BpeTokenizer, added_ids: Any) -> None:
    plain = tokenizer.encode("<s>low</s>", add_special_tokens=False)
    assert added_ids.bos not in plain
    assert added_ids.eos not in plain
    assert tokenizer.decode(plain) == "<s>low</s>"
    parsed = tokenizer.encode("<s>low</s>", add_special_tokens=False, parse_special=True)
    assert (parsed[0], parsed[-1]) == (added_ids.bos, added_ids.eos)
    assert tokenizer.decode(parsed) == "low"
    assert tokenizer.decode(parsed, skip_special_tokens=False) == "<s>low</s>"


@pytest.mark.parametrize("parse_special", [False, True])
def test_user_defined_tokens_are_always_found(tokenizer: BpeTokenizer, added_ids: Any, parse_special: bool) -> None:
    ids = tokenizer.encode("<tool>><tool>low", add_special_tokens=False, parse_special=parse_special)
    assert ids[:2] == [added_ids.longer_tool, added_ids.tool]
    assert tokenizer.decode(ids) == "<tool>><tool>low"


@pytest.mark.parametrize("parse_special", [False, True])
def test_unused_tokens_are_never_found(tokenizer: BpeTokenizer, added_ids: Any, parse_special: bool) -> None:
    ids = tokenizer.encode("[PAD0]", parse_special=parse_special)
    assert added_ids.unused not in ids
    assert tokenizer.decode([*ids, added_ids.unused]) == "[PAD0]"


def test_a_whole_word_is_taken_as_it_is_only_by_llama_bpe() -> None:
    assert BpeTokenizer(ABC).encode("abc") == [0, 4]
    assert BpeTokenizer(attrs.evolve(ABC, pre="llama-bpe")).encode("abc") == [5]


def test_a_missing_byte_is_an_error_only_when_needed() -> None:
    tokenizer = BpeTokenizer(ABC)
    assert tokenizer.encode("cab") == [2, 3]
    with pytest.raises(TokenizerError, match=r"x\.gguf: the vocabulary has no token for byte 0xC3, .*'aé'"):
        tokenizer.encode("aé")


def test_a_lone_surrogate_is_an_error(tokenizer: BpeTokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"lone surrogate, U\+D800, at character 2"):
        tokenizer.encode("ab\ud800")


@pytest.mark.parametrize("token_id", [-1, 10**9])
def test_an_id_outside_the_vocabulary_is_an_error(tokenizer: BpeTokenizer, token_id: int) -> None:
    for call in (lambda i: tokenizer.decode([i]), tokenizer.token_bytes, tokenizer.stream().push):
        with pytest.raises(TokenizerError, match=rf"small\.gguf: token id {token_id} is outside the vocabulary of \d+"):
            call(token_id)


def test_token_bytes(tokenizer: BpeTokenizer, added_ids: Any) -> None:
    assert tokenizer.token_bytes(tokenizer.spec.tokens.index("Ġtower")) == b" tower"
    assert tokenizer.token_bytes(tokenizer.spec.tokens.index("ÿ")) == b"\xff"
    assert tokenizer.token_bytes(added_ids.bos) == b"<s>"
    assert tokenizer.token_bytes(added_ids.tool) == b"<tool>"


def test_an_added_token_is_spelled_in_utf8_not_in_the_byte_alphabet() -> None:
    spec = attrs.evolve(ABC, tokens=[*ABC.tokens, "<é>"], token_types=[NORMAL] * 6 + [USER_DEFINED])
    assert BpeTokenizer(spec).token_bytes(6) == b"<\xc3\xa9>"


def test_the_unknown_token_is_special() -> None:
    tokenizer = BpeTokenizer(attrs.evolve(ABC, tokens=[*ABC.tokens, "cab"], token_types=[NORMAL] * 6 + [UNKNOWN]))
    assert tokenizer.encode("cab") == [2, 3]
    assert tokenizer.encode("cab", parse_special=True) == [6]
    assert tokenizer.decode([6, 0]) == "a"


def test_a_piece_outside_the_alphabet_stands_for_itself() -> None:
    tokenizer = BpeTokenizer(attrs.evolve(ABC, tokens=[*ABC.tokens, "two words", "é "]))
    assert tokenizer.token_bytes(6) == b"two words"
    assert tokenizer.decode([6, 7]) == "two wordsé "


def test_bytes_that_are_no_utf8_become_replacement_characters(tokenizer: BpeTokenizer) -> None:
    ids = [i for i, piece in enumerate(tokenizer.spec.tokens) if piece in ("ã", "ÿ")]
    assert tokenizer.decode(ids) == "\ufffd\ufffd"


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_decoding_undoes_encoding(small: TokenizerSpec, pre: str) -> None:
    tokenizer = BpeTokenizer(attrs.evolve(small, pre=pre))

    @given(st.text() | st.text("the lowr日本語\n'.1"), st.booleans())
    def check(text: str, parse_special: bool) -> None:
        ids = tokenizer.encode(text, parse_special=parse_special)
        assert tokenizer.decode(ids[1:], skip_special_tokens=False) == text

    check()


def test_long_words_are_not_kept(tokenizer: BpeTokenizer) -> None:
    before = tokenizer._cached_word_ids.cache_info().currsize
    word = "towerlow" * CACHED_WORD_LENGTH
    assert tokenizer.decode(tokenizer.encode(word)) == word
    assert tokenizer._cached_word_ids.cache_info().currsize == before


@pytest.mark.parametrize("char", ["e", " ", "日"])
def test_a_long_run_is_near_linear(tokenizer: BpeTokenizer, char: str) -> None:
    start = time.process_time()
    ids = tokenizer.encode(char * 200_000, add_special_tokens=False)
    assert time.process_time() - start < 20
    assert tokenizer.decode(ids) == char * 200_000
