from __future__ import annotations

import logging
import time

import hypothesis.strategies as st
import pytest
import regex
from hypothesis import given, settings

from realizar.errors import TokenizerError
from realizar_bpe.pretokenizers import ALIASES, PRE_TOKENIZERS, pre_tokenizer

WORDS = {
    "default": ["it", "'", "s", " ", "123", "45", " ", " a", "..."],
    "gpt-2": ["it", "'s", " 12345", " ", " a", "..."],
    "llama-bpe": ["it", "'s", " ", "123", "45", " ", " a", "..."],
    "qwen2": ["it", "'s", " ", "1", "2", "3", "4", "5", " ", " a", "..."],
    "smollm": ["it", "'s", " ", "1", "2", "3", "4", "5", " ", " a", "..."],
}

PASSES = {
    "default": [
        r"[\p{P}\$\+<=>\^~\|]+",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
        r"\p{N}+",
        r"[0-9][0-9][0-9]",
    ],
    "gpt-2": [r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
    "llama-bpe": [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
    "qwen2": [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
    "smollm": [r"\p{N}", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
}
"""The rules as published: each pass isolates its matches in every piece that the pass before left."""

MEGABYTES = {
    "letter": "a" * 10**6,
    "space": " " * 10**6,
    "spaces before a letter": " " * 10**6 + "x",
    "line feed": "\n" * 10**6,
    "spaces and line feeds": " \n" * 500_000,
    "spaces, line feeds in between": ("\n" + " " * 999) * 1000 + "x",
    "digit": "1" * 10**6,
    "other digit": "٣" * 10**6,
    "apostrophe": "'" * 10**6,
    "punctuation and line feed": "!\n" * 500_000,
    "emoji": "\N{GRINNING FACE}" * 250_000,
}

CHARS = " \n\t\u00a0\u3000'sStTlLrReEdDaé日17٣½.!$+|~\u0301ſ\N{GRINNING FACE}"
PARTS = [*CHARS, "  ", "\r\n", "'Sa", "'LL", "234", "٣234", "  1", "  !"]
texts = st.lists(st.sampled_from(PARTS) | st.characters(codec="utf-8"), max_size=12).map("".join)


def passed(text: str, passes: list[str]) -> list[str]:
    pieces = [text]
    for pattern in passes:
        pieces = [part for piece in pieces for part in isolated(piece, pattern)]
    return pieces


def isolated(piece: str, pattern: str) -> list[str]:
    parts, end = [], 0
    for match in regex.finditer(pattern, piece):
        parts += [piece[end : match.start()], match.group()]
        end = match.end()
    return [part for part in [*parts, piece[end:]] if part]


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_words(name: str) -> None:
    assert PRE_TOKENIZERS[name].compile().findall("it's 12345  a...") == WORDS[name]


def test_contractions_ignore_case_since_llama3() -> None:
    assert PRE_TOKENIZERS["gpt-2"].compile().findall("I'LLa") == ["I", "'", "LLa"]
    assert PRE_TOKENIZERS["llama-bpe"].compile().findall("I'LLa") == ["I", "'LL", "a"]


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@settings(max_examples=400)
@given(text=texts)
def test_one_pattern_equals_the_published_passes(name: str, text: str) -> None:
    assert PRE_TOKENIZERS[name].compile().findall(text) == passed(text, PASSES[name])


@pytest.mark.parametrize("text", MEGABYTES.values(), ids=MEGABYTES)
@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_a_megabyte_is_cut_in_linear_time(name: str, text: str) -> None:
    start = time.process_time()
    words = PRE_TOKENIZERS[name].compile().findall(text)
    assert time.process_time() - start < 5
    assert sum(map(len, words)) == len(text)


def test_aliases_lead_to_known_rules() -> None:
    assert ALIASES.keys() <= PRE_TOKENIZERS.keys()
    assert pre_tokenizer("llama3", "x.gguf") is PRE_TOKENIZERS["llama-bpe"]
    assert [name for name, rule in PRE_TOKENIZERS.items() if rule.ignore_merges] == ["llama-bpe"]


def test_an_unknown_name_is_an_error_that_names_it_and_the_known() -> None:
    with pytest.raises(
        TokenizerError, match=r"x\.gguf: unknown pre-tokenizer 'tekken'; known are default, gpt-2, .*smollm"
    ):
        pre_tokenizer("tekken", "x.gguf")


def test_a_missing_name_is_default_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert pre_tokenizer(None, "x.gguf") is PRE_TOKENIZERS["default"]
    assert "x.gguf" in caplog.text
    assert "tokenizer.ggml.pre" in caplog.text
