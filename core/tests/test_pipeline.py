"""The steps of a tokenizer.json, by examples from the documentation of `tokenizers` and by hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.errors import TokenizerError
from realizar.model import BYTE, CONTROL, NORMAL, UNUSED, TokenizerSpec
from realizar.pipeline import decoders as d
from realizar.pipeline import normalizers as n
from realizar.pipeline import pre_tokenizers as p
from realizar.pipeline.added_tokens import AddedToken
from realizar.pipeline.decoding import Decoding
from realizar.pipeline.pattern import Pattern
from realizar.pipeline.pipeline import ModelOptions, Pipeline
from realizar.pipeline.tokenizer import PipelineTokenizer
from realizar.pipeline.word_model import WordModel
from realizar.plugins import Host, Record
from realizar.selection import build_tokenizer
from realizar.tokenizers import Tokenizer, TokenizerFactory


def regex(text: str) -> Pattern:
    return Pattern(text, True, "x.json: pattern")


def literal(text: str) -> Pattern:
    return Pattern(text, False, "x.json: pattern")


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        (n.NFC(), "e\u0301", "é"),
        (n.NFD(), "é", "e\u0301"),
        (n.NFKC(), "ﬁ", "fi"),
        (n.NFKD(), "ﬁé", "fie\u0301"),
        (n.Lowercase(), "ΑΣ İ", "ας i̇".replace("ς", "σ")),
        (n.StripAccents(), "e\u0301é", "eé"),
        (n.Strip(True, False), "\u3000\n a \x1c ", "a \x1c "),
        (n.Strip(True, True), " a \x1c ", "a \x1c"),
        (n.Replace(literal("a."), r"\1"), "a.ab", r"\1ab"),
        (n.Replace(regex(r"\s+"), " "), "a \t b", "a b"),
        (n.Prepend("▁"), "a", "▁a"),
        (n.Prepend("▁"), "", ""),
        (n.ByteLevel(), "é a", "Ã©Ġa"),
        (n.Nmt(), "a\x01\tb\ufeff", "a b "),
        (n.BertNormalizer(), "Á\0\t漢\u200b", "a  漢 "),
        (n.BertNormalizer(lowercase=False), "Á", "Á"),
        (n.BertNormalizer(lowercase=False, strip_accents=True), "Á", "A"),
    ],
)
def test_normalizers(step: n.Normalizer, text: str, expected: str) -> None:
    assert step(text) == expected


BEHAVIORS = {
    "Removed": ["The", "final", "countdown"],
    "Isolated": ["The", "-", "final", "-", "-", "countdown"],
    "MergedWithPrevious": ["The-", "final-", "-", "countdown"],
    "MergedWithNext": ["The", "-final", "-", "-countdown"],
    "Contiguous": ["The", "-", "final", "--", "countdown"],
}
"""Of The-final--countdown, from the documentation of SplitDelimiterBehavior."""


@pytest.mark.parametrize("behavior", BEHAVIORS)
@pytest.mark.parametrize("pattern", [literal("-"), regex("-")], ids=["literal", "regex"])
def test_splits(behavior: Any, pattern: Pattern) -> None:
    assert p.Split(pattern, behavior, False).cut("The-final--countdown", True) == BEHAVIORS[behavior]
    inverted = p.Split(regex("[^-]+|-"), behavior, True).cut("The-final", True)
    assert "".join(inverted) in ("The-final", "")


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        (p.ByteLevel(add_prefix_space=False), "it's 12", ["it", "'s", " 12"]),
        (p.ByteLevel(), "a", [" a"]),
        (p.ByteLevel(use_regex=False), " a b", [" a b"]),
        (p.Whitespace(), "Hey, a_b \u0301", ["Hey", ",", "a_b", "\u0301"]),
        (p.WhitespaceSplit(), " Hey,\u3000b\x1c", ["Hey,", "b\x1c"]),
        (p.Digits(True), "a12½", ["a", "1", "2", "½"]),
        (p.Digits(False), "a12b", ["a", "12", "b"]),
        (p.Punctuation(), "a?!", ["a", "?", "!"]),
        (p.Punctuation("Removed"), "a?!b", ["a", "b"]),
        (p.BertPreTokenizer(), "a.b  $c", ["a", ".", "b", "$", "c"]),
        (p.CharDelimiterSplit("x"), "axxb", ["a", "b"]),
        (p.FixedLength(2), "abcde", ["ab", "cd", "e"]),
        (p.Metaspace("▁"), "Hey my", ["▁Hey", "▁my"]),
        (p.Metaspace("▁"), "  a", ["▁", "▁a"]),
        (p.Metaspace("▁", "never"), "Hey my", ["Hey", "▁my"]),
        (p.Metaspace("▁", split=False), "Hey my", ["▁Hey▁my"]),
    ],
)
def test_pre_tokenizers(step: p.PreTokenizer, text: str, expected: list[str]) -> None:
    assert list(step.cut(text, True)) == expected


def test_metaspace_first_counts_at_the_start_only() -> None:
    assert list(p.Metaspace("▁", "first").cut("a", True)) == ["▁a"]
    assert list(p.Metaspace("▁", "first").cut("a", False)) == ["a"]
    with pytest.raises(ValueError, match="add_prefix_space"):
        p.Metaspace("▁", add_prefix_space=False)


LLAMA = (d.Replace(literal("▁"), " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0))


@pytest.mark.parametrize(
    ("steps", "tokens", "expected"),
    [
        (None, ["a", "b"], "a b"),
        ([d.ByteLevel()], ["Ã", "©Ġ", "漢"], "é 漢"),
        ([d.ByteLevel()], ["Ã"], "\ufffd"),
        (LLAMA, ["▁a", "<0xC3>", "<0xA9>", "▁"], "aé "),
        (LLAMA, ["<0xC3>", "▁"], "\ufffd "),
        (LLAMA, ["▁", "▁a"], " a"),
        ([d.Metaspace("▁")], ["▁a", "▁b▁"], "a b "),
        ([d.Metaspace("▁", "never")], ["▁a"], " a"),
        ([d.WordPiece()], ["a", "##b", "c", ".", "do", "n't"], "ab c. don't"),
        ([d.WordPiece(cleanup=False)], ["a", "."], "a ."),
        ([d.BPEDecoder()], ["a</w>", "b", "c</w>"], "a bc"),
        ([d.Strip("x", 1, 2)], ["xxaxxx", "x", "b"], "xaxb"),
        ([d.Fuse(), d.Strip("x", 2, 2)], ["x", "xx", "ax", "x", "x"], "xax"),
        ([d.Fuse(), d.Replace(literal("ab"), "c")], ["a", "b"], "c"),
        ([d.Fuse(), d.Replace(literal("ab"), "c"), d.Fuse()], [], ""),
    ],
)
def test_decoders(steps: Sequence[d.Decoder] | None, tokens: list[str], expected: str) -> None:
    decoding = Decoding(steps)
    assert "".join([*map(decoding.push, tokens), decoding.finish()]) == expected


class TestPattern:
    """Expressions for Oniguruma."""

    @pytest.mark.parametrize(
        ("text", "given_", "parts"),
        [
            ("b", "abc", ["a", "b", "c"]),
            ("(a)|(?:b)", "ab", ["", "a", "", "b", ""]),
            ("^b$", "a\nb\nc", ["a\n", "b", "\nc"]),
            (r"[a-z&&[^b]]+", "abc", ["", "a", "b", "c", ""]),
            (r"\p{Han}|\x{e9}|\u00e0", "漢éà", ["", "漢", "", "é", "", "à", ""]),
            (r"a{2}|c{1,}", "aacc", ["", "aa", "", "cc", ""]),
            (r"[]\-]", "a]-", ["a", "]", "", "-", ""]),
        ],
    )
    def test_parts(self, text: str, given_: str, parts: list[str]) -> None:
        assert regex(text).parts(given_) == parts

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (r"\G", r"character 0: found \\G"),
            (r"a\h", r"found \\h"),
            (r"(?<n>a)", r"found \(\?<n"),
            ("(?m:a)", r"found \(\?m:"),
            ("[[:alpha:]]", r"found \[:alpha:\]"),
            ("[a--b]", "-- in a class"),
            ("a{,3}", "without a least number"),
            ("a{2}+", "without a least number"),
            ("a{b", "without a number of repetitions"),
            ("a{1001}", "more than 1000 repetitions"),
            ("(" * 51, "more than 50 groups"),
            ("[" * 51, "more than 50 groups"),
            ("(", "cannot be run"),
            ("*", "cannot be run"),
            (r"\p{Abacus}", "cannot be run"),
            ("a\\", "is not supported"),
            ("", "is empty"),
            ("a" * 20000, "has 20000 characters"),
        ],
    )
    def test_what_is_refused(self, text: str, words: str) -> None:
        with pytest.raises(TokenizerError, match=words) as caught:
            regex(text)
        assert str(caught.value).startswith("x.json: pattern: ")

    def test_an_empty_text_is_no_pattern(self) -> None:
        with pytest.raises(TokenizerError, match="is empty"):
            literal("")

    def test_a_search_without_end_ends(self) -> None:
        start = time.monotonic()
        with pytest.raises(TokenizerError, match=r"takes more than 1\.0 s for 40 characters"):
            regex(r"(?:a|a|aa)+$").parts("a" * 39 + "b")
        assert time.monotonic() - start < 10


class Letters(WordModel):
    """An id for each of a few characters; 9 for the others."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._ids = {token: i for i, token in enumerate(tokens)}

    def word_ids(self, word: str) -> Sequence[int]:
        return [self._ids.get(char, 9) for char in word]


TOKENS = ["<s>", "</s>", "a", "b", "▁", "<t>", "Ġ", "A", "<0x41>", "?", "pad"]
TYPES = [CONTROL, CONTROL, *[NORMAL] * 6, BYTE, NORMAL, UNUSED]


def tokenizer(**changes: Any) -> PipelineTokenizer:
    values: dict[str, Any] = {
        "options": ModelOptions(), "before": (0,), "after": (1, 1),
        "added_tokens": (AddedToken(0, "<s>", special=True), AddedToken(1, "</s>", special=True)),
    }  # fmt: skip
    spec = TokenizerSpec("bpe", TOKENS, "x.json", token_types=TYPES, pipeline=Pipeline(**values | changes))
    return PipelineTokenizer(spec, Letters(TOKENS))


class TestTokenizer:
    """All steps together."""

    def test_ids(self) -> None:
        made = tokenizer(normalizers=(n.Lowercase(),), pre_tokenizers=(p.Metaspace("▁"),))
        assert made.encode("A b") == [0, 4, 2, 4, 3, 1, 1]
        assert made.encode("a<s>", add_special_tokens=False, parse_special=True) == [4, 2, 0]
        assert made.encode("a<s>", add_special_tokens=False) == [4, 2, 9, 9, 9]
        assert made.encode("", add_special_tokens=False) == []

    @pytest.mark.parametrize(
        ("flags", "text", "ids"),
        [
            ({}, "a <t> b", [2, 9, 5, 9, 3]),
            ({"lstrip": True}, "a  <t> b", [2, 5, 9, 3]),
            ({"rstrip": True}, "a <t>\n b", [2, 9, 5, 3]),
            ({"rstrip": True, "lstrip": True}, "a <t> <t> b", [2, 5, 5, 3]),
            ({"single_word": True}, "a<t> <t>b <t>", [2, 9, 9, 9, 9, 9, 9, 9, 3, 9, 5]),
            ({"normalized": True}, "a<T>", [2, 5]),
            ({"normalized": False}, "a<T>", [2, 9, 9, 9]),
        ],
    )
    def test_flags_of_added_tokens(self, flags: dict[str, bool], text: str, ids: list[int]) -> None:
        made = tokenizer(added_tokens=(AddedToken(5, "<t>", **flags),), normalizers=(n.Lowercase(),))
        assert made.encode(text, add_special_tokens=False) == ids

    def test_each_step_spells_for_the_next(self) -> None:
        made = tokenizer(pre_tokenizers=(p.ByteLevel(False, use_regex=False), p.CharDelimiterSplit("Ġ")))
        assert made.encode("a b", add_special_tokens=False) == [2, 3]
        made = tokenizer(pre_tokenizers=(p.CharDelimiterSplit("b"), p.Metaspace("▁", "first")))
        assert made.encode("aba", add_special_tokens=False) == [4, 2, 2]
        assert made.encode("ba", add_special_tokens=False) == [2]

    def test_a_text_may_not_grow_without_end(self) -> None:
        made = tokenizer(normalizers=(n.Replace(literal("a"), "a" * 64),) * 64)
        with pytest.raises(TokenizerError, match="Replace makes"):
            made.encode("a" * 100)

    def test_a_lone_surrogate_is_no_text(self) -> None:
        with pytest.raises(TokenizerError, match=r"lone surrogate, U\+D800"):
            tokenizer().encode("a\ud800")

    def test_decoding(self) -> None:
        made = tokenizer(decoders=(d.ByteFallback(), d.Fuse()))
        assert made.decode([0, 2, 8, 1, 10]) == "aA"
        assert made.decode([0, 2, 8], skip_special_tokens=False) == "<s>aA"
        with pytest.raises(TokenizerError, match="token id 11 is outside"):
            made.decode([11])

    @pytest.mark.parametrize(
        ("steps", "token_id", "data"),
        [
            (None, 2, b" a"),
            (None, 0, b"<s>"),
            ((d.ByteLevel(),), 6, b" "),
            ((d.ByteLevel(),), 4, "▁".encode()),
            (LLAMA, 4, b" "),
            (LLAMA, 8, b"A"),
            ((d.BPEDecoder("a"),), 2, b" "),
        ],
    )
    def test_token_bytes(self, steps: Any, token_id: int, data: bytes) -> None:
        assert tokenizer(decoders=steps).token_bytes(token_id) == data

    @given(st.lists(st.integers(0, 10)), st.sampled_from([None, LLAMA, (d.ByteLevel(),), (d.Metaspace("▁"),)]))
    def test_streaming_is_decoding(self, ids: list[int], steps: Any) -> None:
        made = tokenizer(decoders=steps)
        stream = made.stream()
        for _ in range(2):
            assert "".join([*map(stream.push, ids), stream.finish()]) == made.decode(ids)


class Whole(TokenizerFactory):
    """A plugin of before pipelines."""

    name = "whole"

    def supports(self, spec: TokenizerSpec) -> int:
        return 1

    def build(self, spec: TokenizerSpec) -> Tokenizer:
        raise NotImplementedError


class OfLetters(Whole):
    """A plugin that gives a model."""

    def build_model(self, spec: TokenizerSpec) -> WordModel:
        return Letters(spec.tokens)


def test_a_pipeline_needs_a_plugins_model() -> None:
    def host(factory: TokenizerFactory) -> Host:
        made = Host(points=())
        made.records.append(Record(factory.name, "tokenizer", "x", "1", "ok", "", factory))
        return made

    spec = tokenizer().spec
    with pytest.raises(TokenizerError, match="tokenizer 'whole' has no model 'bpe' that goes with"):
        build_tokenizer(spec, host(Whole()))
    assert build_tokenizer(spec, host(OfLetters())).encode("ab") == [0, 2, 3, 1, 1]
