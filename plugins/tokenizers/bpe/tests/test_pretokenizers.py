from __future__ import annotations

import logging
import time

import hypothesis.strategies as st
import pytest
import regex
from hypothesis import given, settings

from realizar.errors import TokenizerError
from realizar_bpe.pretokenizers import ALIASES, PRE_TOKENIZERS, pre_tokenizer

C = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
END = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + END
QWEN2 = LLAMA3.replace("{1,3}", "")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{C}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{C}?"
GPT4O = CASED + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + END
ASCII_SYMBOL = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
DEEPSEEK3 = ASCII_SYMBOL + r"[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*" + END

WORDS = {
    "default": ["it", "'", "s", " ", "123", "45", " ", " a", "..."],
    "gpt-2": ["it", "'s", " 12345", " ", " a", "..."],
    "llama-bpe": ["it", "'s", " ", "123", "45", " ", " a", "..."],
    "qwen2": ["it", "'s", " ", "1", "2", "3", "4", "5", " ", " a", "..."],
    "smollm": ["it", "'s", " ", "1", "2", "3", "4", "5", " ", " a", "..."],
    "afmoe": ["it", "'s", " ", "12", "345", " ", " a", "..."],
    "bloom": ["it's", " 12345", " ", " a", "..."],
    "chameleon": ["it", "'", "s", " ", "1", "2", "3", "4", "5", "  ", "a", ".", ".", "."],
    "deepseek-llm": ["it", "'", "s", " ", "12345", " ", " a", "..."],
    "granite-embed-multi-97m": ["it's", " ", "123", "45", " ", " a", "..."],
    "superbpe": ["it's ", "12", "345", "  a..."],
    "tiny_aya": ["it's", " ", "12", "345", " ", " a", "..."],
    "viking": ["it's", " ", "1", "2", "3", "4", "5", " ", " a", "..."],
}
"""Those that count from the right, and those that are written as published."""

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
    "bailingmoe": [QWEN2.replace("?\\p{L}", "?+\\p{L}").replace(r"\s*[\r\n]+", r"\s*[\r\n]")],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3],
    "exaone-moe": [
        C + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
        r"|\s+(?!\S)|\s+"
    ],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "gpt-4o": [GPT4O],
    "jais-2": [
        C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)"
        r"|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
    ],
    "kimi-k2": [
        r"[\p{Han}]+|" + CASED.replace("M}]", r"M}&&[^\p{Han}]]") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + END
    ],
    "laguna": [r"[^\n]+|[\n]+", QWEN2],
    "minicpm5": [r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")],
    "qwen35": [C + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + END],
    "seed-coder": [C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + END],
    "spark2_5": [
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",
        DEEPSEEK3.replace(r"+[\r\n]*|\s*[\r\n]+", r"+|[\r\n]"),
        r"\p{N}",
    ],
    "tekken": [GPT4O.replace(C + "?", "").replace("{1,3}", "")],
    "ufakzeka": [QWEN2.removeprefix(C + "|")],
    "youtu": [
        "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
        GPT4O.replace("{1,3}", ""),
    ],
    "smollm": [r"\p{N}", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
}
"""The rules as published: each pass isolates its matches in every piece that the pass before left."""

LONG_TEXTS = {
    "letter": "a" * 50_000,
    "space": " " * 50_000,
    "spaces before a letter": " " * 100_000 + "x",
    "line feed": "\n" * 50_000,
    "spaces and line feeds": " \n" * 50_000,
    "spaces, line feeds in between": ("\n" + " " * 999) * 200 + "x",
    "digit": "1" * 50_000,
    "other digit": "٣" * 50_000,
    "apostrophe": "'" * 50_000,
    "punctuation and line feed": "!\n" * 50_000,
    "emoji": "\N{GRINNING FACE}" * 25_000,
}

CHARS = " \n\t\u00a0/漢ÀǅÅ가\u3000'sStTlLrReEdDaé日17٣½.!$+|~\u0301ſ\N{GRINNING FACE}"
PARTS = [*CHARS, "  ", "\r\n", "'Sa", "'LL", "234", "٣234", "  1", "  !"]
texts = st.lists(st.sampled_from(PARTS) | st.characters(codec="utf-8"), max_size=12).map("".join)


def passed(text: str, passes: list[str]) -> list[str]:
    pieces = [text]
    for pattern in passes:
        pieces = [part for piece in pieces for part in isolated(piece, pattern)]
    return pieces


def isolated(piece: str, pattern: str) -> list[str]:
    parts, end = [], 0
    for match in regex.finditer(pattern, piece, regex.V1):
        parts += [piece[end : match.start()], match.group()]
        end = match.end()
    return [part for part in [*parts, piece[end:]] if part]


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str) -> None:
    assert PRE_TOKENIZERS[name].compile()("it's 12345  a...") == WORDS[name]


def test_contractions_ignore_case_since_llama3() -> None:
    assert PRE_TOKENIZERS["gpt-2"].compile()("I'LLa") == ["I", "'", "LLa"]
    assert PRE_TOKENIZERS["llama-bpe"].compile()("I'LLa") == ["I", "'LL", "a"]


@pytest.mark.parametrize("name", PASSES)
@settings(max_examples=150)
@given(text=texts)
def test_words_equal_the_published_passes(name: str, text: str) -> None:
    assert PRE_TOKENIZERS[name].compile()(text) == passed(text, PASSES[name])


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_long_texts_are_cut_in_linear_time(name: str, text: str) -> None:
    start = time.process_time()
    words = PRE_TOKENIZERS[name].compile()(text)
    assert time.process_time() - start < 5
    assert sum(map(len, words)) == len(text)


def test_aliases_lead_to_known_rules() -> None:
    assert ALIASES.keys() <= PRE_TOKENIZERS.keys()
    assert pre_tokenizer("llama3", "x.gguf") is PRE_TOKENIZERS["llama-bpe"]
    ignoring = {"llama-bpe", "glm4", "granite-embed-multi-97m", "minicpm5", "tekken", "youtu"}
    assert {name for name, rule in PRE_TOKENIZERS.items() if rule.ignore_merges} == ignoring


def test_every_rule_is_compared_with_the_published_one() -> None:
    assert WORDS.keys() | PASSES.keys() | {"dbrx", "glm4"} == PRE_TOKENIZERS.keys()  # llama-bpe's, both


def test_an_unknown_name_is_an_error_that_names_it_and_the_known() -> None:
    with pytest.raises(
        TokenizerError, match=r"x\.gguf: unknown pre-tokenizer 'abacus'; known are default, gpt-2, .*smollm"
    ):
        pre_tokenizer("abacus", "x.gguf")


def test_a_missing_name_is_default_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert pre_tokenizer(None, "x.gguf") is PRE_TOKENIZERS["default"]
    assert "x.gguf" in caplog.text
    assert "tokenizer.ggml.pre" in caplog.text
