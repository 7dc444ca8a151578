"""Segmentation by unigram against Hugging Face `tokenizers`, with the same pieces and scores."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from realizar.tokenizer_files.sentencepiece_model import read_sentencepiece_model

hf = pytest.importorskip("tokenizers")
sentencepiece = pytest.importorskip("sentencepiece")
SentencePieceTokenizer = pytest.importorskip("realizar_sentencepiece.tokenizer").SentencePieceTokenizer

from tokenizers import decoders, models, pre_tokenizers  # noqa: E402

EXAMPLES = int(os.environ.get("REALIZAR_ORACLE_EXAMPLES", "300"))
ROOT = Path(__file__).parents[2]
BARE = {"precompiled_charsmap": None, "add_space_prefix": False, "remove_extra_whitespaces": False}


@pytest.fixture(scope="module", params=[False, True], ids=["unknown", "bytes"])
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A unigram model of SentencePiece in both; no normalization in either."""
    written = io.BytesIO()
    lines = (ROOT / "tests/data/prose.txt").read_text("utf-8").splitlines()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*lines, *["日本語のテキスト naïve 😀"] * 5]), model_writer=written, vocab_size=600,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, byte_fallback=request.param,
    )  # fmt: skip
    spec = attrs.evolve(read_sentencepiece_model(written.getvalue(), "trained.model"), **BARE)
    vocab = list(zip(spec.tokens, spec.scores or (), strict=True))
    theirs = hf.Tokenizer(models.Unigram(vocab, unk_id=spec.unk_token_id, byte_fallback=request.param))
    theirs.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    theirs.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return SentencePieceTokenizer(spec), theirs


texts = st.lists(
    st.sampled_from(["the", " ", "  ", "日本", "語", "é", "ï", "\n", "<", "0x41", "😀"])
    | st.text("thesandofwr .", max_size=20)
    | st.text(max_size=5)
).map("".join)


@pytest.mark.proves("tokenizers", tokenizer="unigram", vocabulary="specification")
def test_ids_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(texts)
    def check(text: str) -> None:
        plain = text.replace("<s>", "").replace("</s>", "").replace("<unk>", "")  # theirs makes tokens of these
        ids = ours.encode(plain)
        assert ids == theirs.encode(plain, add_special_tokens=False).ids
        if ours._vocabulary.byte_ids:
            assert ours.decode(ids) == theirs.decode(ids)

    check()
