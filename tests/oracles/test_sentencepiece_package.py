"""Ids and texts against the `sentencepiece` package, with models that it trains here and `.model` files that it writes.

A unigram text may have two segmentations that score the same, or nearly: the package adds in 32 bits, we in 64. Where
ids differ, both segmentations must score the same to within the rounding of 32 bits; how often is printed.
"""

from __future__ import annotations

import io
import os
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from realizar.model import BYTE, NORMAL, USER_DEFINED
from realizar.tokenizer_files.sentencepiece_model import read_sentencepiece_model

sentencepiece = pytest.importorskip("sentencepiece")
SentencePieceTokenizer = pytest.importorskip("realizar_sentencepiece.tokenizer").SentencePieceTokenizer

EXAMPLES = int(os.environ.get("REALIZAR_ORACLE_EXAMPLES", "300"))
ROOT = Path(__file__).parents[2]
OTHER_SCRIPTS = (
    "Ελληνικά русский язык 日本語のテキスト 한국어 العربية हिन्दी ไทย naïve façade ½ ² ٣٤ 😀😀🎉 ﬁne ｈａｌｆ ①"
)
USER = ["<tool>", "<tool>>", "\u2581\u2581", "ab", "bc", "é"]
PLAIN: dict[str, Any] = {"add_dummy_prefix": False, "remove_extra_whitespaces": False}
MODELS: dict[str, dict[str, Any]] = {
    "bpe": {"model_type": "bpe"},
    "bpe-bytes": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", **PLAIN},
    "bpe-added": {"model_type": "bpe", "user_defined_symbols": USER, "remove_extra_whitespaces": False},
    "bpe-across": {"model_type": "bpe", "split_by_whitespace": False, "byte_fallback": True},
    "bpe-suffix": {"model_type": "bpe", "treat_whitespace_as_suffix": True},
    "unigram": {"model_type": "unigram"},
    "unigram-bytes": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "nfkc", **PLAIN},
    "unigram-added": {"model_type": "unigram", "user_defined_symbols": USER, "byte_fallback": True},
    "unigram-folded": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc_cf", "split_by_whitespace": False},
    "unigram-suffix": {"model_type": "unigram", "treat_whitespace_as_suffix": True, "remove_extra_whitespaces": False},
}
"""Options of the trainer, one kind of file each."""


def corpus() -> list[str]:
    sources = [path.read_text("utf-8") for path in sorted(ROOT.glob("core/src/realizar/engine/*.py"))]
    prose = (ROOT / "tests/data/prose.txt").read_text("utf-8")
    return [*prose.splitlines(), *"\n".join(sources).splitlines(), *[OTHER_SCRIPTS] * 5]


@pytest.fixture(scope="module", params=MODELS)
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=written, vocab_size=1000, hard_vocab_limit=False,
        minloglevel=2, character_coverage=0.995, num_threads=1, **MODELS[request.param],
    )  # fmt: skip
    theirs = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return SentencePieceTokenizer(read_sentencepiece_model(written.getvalue(), "trained.model")), theirs


FRAGMENTS = [
    *(" ", "  ", "   ", "\u2581", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u200b", "\x00", "\ufffd", "e\u0301", "é"),
    *("the", " def", "return", "日本", " русский", "!", "...", "<", "<s>", "</s>", "<unk>", "<tool>", "<tool>>", "ab"),
    *("abc", "bcab", "ﬁ", "ｶﾞ", "①", "½", "\u1e9b\u0323", "\u0344", "ĳ", "각", "\u1100\u1161\u11a8", "﷽", "<0x41>"),
]
texts = st.lists(
    st.sampled_from(FRAGMENTS)
    | st.text()
    | st.text(st.characters(codec="ascii"))
    | st.text("thesandofwr .", max_size=20)
).map("".join)


class Scores:
    """Scores of segmentations, as the unigram model defines them."""

    def __init__(self, spec: Any) -> None:
        by_type = list(zip(spec.token_types, spec.tokens, spec.scores, strict=True))
        self.known = {piece: score for kind, piece, score in by_type if kind == NORMAL}
        self.unknown = min(self.known.values()) - 10
        self.known |= {piece: 0.1 * (len(piece.encode()) - 1) for kind, piece, _ in by_type if kind == USER_DEFINED}
        self.bytes = {piece: int(piece[3:5], 16) for kind, piece, _ in by_type if kind == BYTE}

    def of(self, pieces: list[str]) -> float:
        """The score of the segmentation of a normalized text into pieces, unknown ones by their spelling."""
        total = 0.0
        for is_byte, run in groupby(pieces, key=self.bytes.__contains__):
            if is_byte:
                total += self.unknown * len(bytes(map(self.bytes.__getitem__, run)).decode())
            else:
                total += sum(self.known[p] if p in self.known else self.unknown * len(p) for p in run)
        return total


def our_pieces(ours: Any, text: str) -> list[str]:
    """The pieces before unknown ones become ids."""
    normalized = ours._normalizer(text, prefix=True)
    return [piece for word in ours._words(normalized) for piece in ours._model.segment(word)]


@pytest.mark.proves("sentencepiece", tokenizer=("spm", "unigram"), vocabulary="tokenizer.model")
def test_ids_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    scores, ties = Scores(ours.spec), []

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(texts)
    def check(text: str) -> None:
        found, expected = ours.encode(text), theirs.encode(text)
        if found == expected:
            return
        assert ours.spec.model == "unigram"
        pieces, their_pieces = our_pieces(ours, text), theirs.encode(text, out_type=str)
        assert scores.of(pieces) == pytest.approx(scores.of(their_pieces), rel=1e-6)
        ties.append(text)

    check()
    print(f"{len(ties)} of {EXAMPLES} texts tie")
    assert len(ties) <= EXAMPLES // 20


def test_texts_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    known = [i for i in range(len(ours.spec.tokens)) if not theirs.is_unknown(i)]
    ids = st.lists(st.sampled_from(known) | st.sampled_from(known[:260]))

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(ids)
    def check(ids: list[int]) -> None:
        visible = [i for i in ids if not theirs.is_control(i)]  # one inside a character breaks it in the package
        stream = ours.stream()
        assert "".join(map(stream.push, ids)) + stream.finish() == ours.decode(ids) == theirs.decode(visible)

    check()


def test_lines_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    lines = [line for line in corpus() if not re.search("[^ -~]", line)]
    assert len(lines) > 500
    different = [line for line in lines if ours.encode(line) != theirs.encode(line)]
    assert len(different) <= (len(lines) // 100 if ours.spec.model == "unigram" else 0)


def test_special_ids_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    spec = ours.spec
    assert (spec.unk_token_id, spec.bos_token_id, *spec.eos_token_ids) == (
        theirs.unk_id(), theirs.bos_id(), theirs.eos_id()
    )  # fmt: skip
    assert list(spec.tokens) == [theirs.id_to_piece(i) for i in range(theirs.get_piece_size())]
