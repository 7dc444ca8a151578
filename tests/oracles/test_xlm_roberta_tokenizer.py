"""XLM-RoBERTa's tokenizer against transformers: a small unigram model of SentencePiece in each kind of directory."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from realizar.huggingface.tokenizer import read_tokenizer
from realizar.selection import build_tokenizer

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")
pytest.importorskip("realizar_sentencepiece")

EXAMPLES = int(os.environ.get("REALIZAR_ORACLE_EXAMPLES", "300"))
ROOT = Path(__file__).parents[2]
OTHER_SCRIPTS = "Ελληνικά русский язык 日本語のテキスト 한국어 العربية हिन्दी ไทย naïve façade ½ ② ﬁne ｈａｌｆ 😀🎉"
MODEL = "sentencepiece.bpe.model"


@pytest.fixture(scope="module")
def trained() -> bytes:
    written = io.BytesIO()
    lines = (ROOT / "tests/data/prose.txt").read_text("utf-8").splitlines()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*lines, *[OTHER_SCRIPTS] * 5]), model_writer=written, vocab_size=600,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, model_type="unigram",
    )  # fmt: skip
    return written.getvalue()


@pytest.fixture(scope="module", params=[MODEL, "tokenizer.json"])
def both(request: pytest.FixtureRequest, trained: bytes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Ours reads the directory that has the one file, theirs always the trained model."""
    folder, saved = tmp_path_factory.mktemp("trained"), tmp_path_factory.mktemp("saved")
    (folder / MODEL).write_bytes(trained)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "XLMRobertaTokenizer"}))
    theirs = transformers.XLMRobertaTokenizer.from_pretrained(folder)
    theirs.save_pretrained(saved)
    assert (saved / "tokenizer.json").exists() and not (saved / MODEL).exists()
    spec = read_tokenizer(folder if request.param == MODEL else saved, {}, {})
    assert spec is not None and spec.source.endswith(request.param)
    return build_tokenizer(spec), theirs


FRAGMENTS = [
    *(" ", "  ", "\n", "\t", "\u00a0", "\u3000", "\u200b", "\ufffd", "é", "e\u0301", "the", " of", "日本", " русский"),
    *("<s>", "</s>", "<unk>", "<pad>", " <mask>", "<mask> ", "▁", "▁the", "ﬁ", "ｶﾞ", "①", "½", "ĳ", "각", "😀", "\0"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text("thesandofwr .", max_size=20) | st.text(max_size=5)).map("".join)


def test_ids_and_texts_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(texts)
    def check(text: str) -> None:
        ids = ours.encode(text, parse_special=True)
        assert ids == theirs(text)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    check()


def test_the_special_tokens_have_fairseq_ids(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    spec = ours.spec
    assert (spec.bos_token_id, spec.pad_token_id, *spec.eos_token_ids, spec.unk_token_id) == (0, 1, 2, 3)
    assert ours.encode("the sea <mask>", parse_special=True)[-2] == theirs.mask_token_id == len(theirs) - 1
    assert list(spec.tokens) == theirs.convert_ids_to_tokens(range(len(theirs)))
