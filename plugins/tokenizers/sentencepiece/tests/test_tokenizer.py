from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar.errors import TokenizerError
from realizar.model import TokenizerSpec
from realizar_sentencepiece.tokenizer import CACHED_WORD_LENGTH, SentencePieceTokenizer

Spelled = Callable[[Any, list[int]], list[str]]
BOS, EOS, TOOL, LONGER_TOOL = 1, 2, 3, 4


@pytest.fixture(scope="module")
def tokenizer(small: TokenizerSpec) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(small)


def test_words_become_pieces(tokenizer: SentencePieceTokenizer, spelled: Spelled) -> None:
    ids = tokenizer.encode("the lower  low", add_special_tokens=False)
    assert spelled(tokenizer, ids) == ["▁the", "▁lower", "▁", "▁low"]
    assert tokenizer.encode("") == [BOS]


def test_bos_and_eos_follow_the_flags(small: TokenizerSpec) -> None:
    both = SentencePieceTokenizer(attrs.evolve(small, add_eos_token=True))
    bare = both.encode("low", add_special_tokens=False)
    assert both.encode("low") == [BOS, *bare, EOS]
    assert SentencePieceTokenizer(attrs.evolve(small, add_bos_token=False)).encode("low") == bare


def test_control_tokens_are_plain_text_unless_asked_for(tokenizer: SentencePieceTokenizer) -> None:
    plain = tokenizer.encode("<s>low</s>", add_special_tokens=False)
    assert not {BOS, EOS} & set(plain)
    assert tokenizer.decode(plain) == "<s>low</s>"
    parsed = tokenizer.encode("<s>low</s>", add_special_tokens=False, parse_special=True)
    assert (parsed[0], parsed[-1]) == (BOS, EOS)
    assert tokenizer.decode(parsed) == "low"


@pytest.mark.parametrize("split", [False, True])
def test_the_longest_user_defined_token_is_always_found(
    small: TokenizerSpec, spelled: Spelled, split: bool
) -> None:  # fmt: skip
    tokenizer = SentencePieceTokenizer(attrs.evolve(small, split_user_defined=split, add_space_prefix=False))
    ids = tokenizer.encode("low<tool>><tool>low", add_special_tokens=False)
    assert spelled(tokenizer, ids) == ["low", "<tool>>", "<tool>", "low"]


def test_where_the_space_is_added(small: TokenizerSpec, spelled: Spelled) -> None:
    def pieces(text: str, **changes: Any) -> list[str]:
        tokenizer = SentencePieceTokenizer(attrs.evolve(small, **changes))
        return spelled(tokenizer, tokenizer.encode(text, add_special_tokens=False, parse_special=True))

    llama_cpp = {"prepend_scheme": "always", "split_user_defined": True}
    assert pieces("low<tool>low</s>low", **llama_cpp) == ["▁low", "<tool>", "▁low", "</s>", "▁low"]
    sentencepiece = {"prepend_scheme": "first", "split_user_defined": False}
    assert pieces("low<tool>low</s>low", **sentencepiece) == ["▁low", "<tool>", "low", "</s>", "low"]
    assert pieces("<tool>low", **sentencepiece) == ["▁", "<tool>", "low"]
    assert pieces("low low", treat_whitespace_as_suffix=True) == ["low", "▁low", "▁"]


def test_spaces_are_thinned_out_where_asked_for(small: TokenizerSpec, spelled: Spelled) -> None:
    tokenizer = SentencePieceTokenizer(attrs.evolve(small, remove_extra_whitespaces=True))
    assert spelled(tokenizer, tokenizer.encode("  the   low ", add_special_tokens=False)) == ["▁the", "▁low"]
    assert tokenizer.encode("   ", add_special_tokens=False) == []
    kept = SentencePieceTokenizer(attrs.evolve(small, add_space_prefix=False))
    assert spelled(kept, kept.encode("    low   ", add_special_tokens=False)) == ["▁▁", "▁", "▁low", "▁▁", "▁"]


def test_merges_count_where_there_are_no_scores(small: TokenizerSpec, spelled: Spelled) -> None:
    merges = ["o w", "l ow", "▁ l", "l o", "lo w", "e r"]
    tokenizer = SentencePieceTokenizer(attrs.evolve(small, scores=None, merges=merges))
    assert spelled(tokenizer, tokenizer.encode("low er", add_special_tokens=False)) == ["▁", "low", "▁", "er"]


def test_what_the_vocabulary_lacks_is_spelled_in_bytes(tokenizer: SentencePieceTokenizer, spelled: Spelled) -> None:
    ids = tokenizer.encode("日é", add_special_tokens=False)
    assert spelled(tokenizer, ids) == ["▁", "日", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(ids) == "日é"


def test_without_bytes_a_run_of_the_unknown_is_one_token(without_bytes: TokenizerSpec, spelled: Spelled) -> None:
    tokenizer = SentencePieceTokenizer(without_bytes)
    ids = tokenizer.encode("éü low ñ ñ", add_special_tokens=False)
    assert spelled(tokenizer, ids) == ["▁", "<unk>", "▁low", "▁", "<unk>", "▁", "<unk>"]
    assert tokenizer.decode(ids) == " low  "


def test_a_lone_surrogate_is_an_error(tokenizer: SentencePieceTokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"lone surrogate, U\+D800, at character 2"):
        tokenizer.encode("ab\ud800")


@pytest.mark.parametrize("token_id", [-1, 10**9])
def test_an_id_outside_the_vocabulary_is_an_error(tokenizer: SentencePieceTokenizer, token_id: int) -> None:
    for call in (lambda i: tokenizer.decode([i]), tokenizer.token_bytes, tokenizer.stream().push):
        with pytest.raises(TokenizerError, match=rf"small\.gguf: token id {token_id} is outside the vocabulary of \d+"):
            call(token_id)


def test_token_bytes(tokenizer: SentencePieceTokenizer) -> None:
    assert tokenizer.token_bytes(tokenizer.spec.tokens.index("▁lower")) == b" lower"
    assert tokenizer.token_bytes(tokenizer.spec.tokens.index("<0xFF>")) == b"\xff"
    assert tokenizer.token_bytes(BOS) == b"<s>"
    assert tokenizer.token_bytes(TOOL) == b"<tool>"


@given(st.text() | st.text("the lowr日本\n'.1"), st.booleans())
def test_decoding_undoes_encoding(small: TokenizerSpec, text: str, prefix: bool) -> None:
    tokenizer = SentencePieceTokenizer(attrs.evolve(small, add_space_prefix=prefix))
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("\u2581", " ")


def test_long_words_are_not_kept(tokenizer: SentencePieceTokenizer) -> None:
    word = "lowerlower" * CACHED_WORD_LENGTH
    assert tokenizer.decode(tokenizer.encode(word)) == word
    assert max(map(len, tokenizer._word_ids)) <= CACHED_WORD_LENGTH


@pytest.mark.parametrize("many", [1, 1000])
def test_the_memory_of_words_is_bounded(
    without_bytes: TokenizerSpec, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:  # fmt: skip
    tokenizer, fresh = (SentencePieceTokenizer(attrs.evolve(without_bytes, model="unigram")) for _ in range(2))
    monkeypatch.setattr("realizar_sentencepiece.tokenizer.CACHED_WORDS", 3)
    monkeypatch.setattr("realizar_sentencepiece.tokenizer.MANY_WORDS", many)
    for text in ("a b the low", "lower he th", "日本 ow", "a"):
        assert fresh.encode(text) == tokenizer.encode(text)
    assert len(fresh._word_ids) <= 3


@pytest.mark.parametrize("model", ["spm", "unigram"])
def test_many_new_words_are_worked_out_together(
    without_bytes: TokenizerSpec, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    spec = attrs.evolve(without_bytes, model=model)

    @given(st.text("the lowrabxyé日本") | st.text())
    def check(text: str) -> None:
        one_by_one = SentencePieceTokenizer(spec).encode(text)
        with monkeypatch.context() as patch:
            patch.setattr("realizar_sentencepiece.tokenizer.MANY_WORDS", 1)
            assert SentencePieceTokenizer(spec).encode(text) == one_by_one

    check()


@pytest.mark.parametrize("model", ["spm", "unigram"])
@pytest.mark.parametrize("char", ["e", " ", "日", "lo"])
def test_a_long_run_is_near_linear(small: TokenizerSpec, model: str, char: str) -> None:
    tokenizer = SentencePieceTokenizer(attrs.evolve(small, model=model))
    start = time.process_time()
    ids = tokenizer.encode(char * 200_000, add_special_tokens=False)
    assert time.process_time() - start < 20
    assert tokenizer.decode(ids) == char * 200_000
