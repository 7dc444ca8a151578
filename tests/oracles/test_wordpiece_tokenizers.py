"""Ids and texts against Hugging Face `tokenizers`, which learns the vocabulary, and its normalizers of BERT's texts."""

from __future__ import annotations

import itertools
import os
import unicodedata
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from realizar.model import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, TokenizerSpec

hf = pytest.importorskip("tokenizers")
WordPieceTokenizer = pytest.importorskip("realizar_wordpiece.tokenizer").WordPieceTokenizer

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

EXAMPLES = int(os.environ.get("REALIZAR_ORACLE_EXAMPLES", "300"))
PROSE = Path(__file__).parents[1] / "data/prose.txt"
OTHER_SCRIPTS = "Ελληνικά русский язык 日本語のテキスト 한국어 العربية हिन्दी ไทย naïve façade 😀😀🎉 ½ ² ٣٤ tests don't"
ADDED = {"[PAD]": CONTROL, "[UNK]": UNKNOWN, "[CLS]": CONTROL, "[SEP]": CONTROL, "<tool>": USER_DEFINED}

OPTIONS = tuple(itertools.product((True, False), repeat=3))
"""do_lower_case, strip_accents, tokenize_chinese_chars."""


@pytest.fixture(scope="module", params=OPTIONS, ids=lambda o: "-".join("ny"[value] for value in o))
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    lower, strip, chinese = request.param
    theirs = hf.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=30))
    theirs.normalizer = normalizers.BertNormalizer(True, chinese, strip, lower)
    theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    theirs.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    trainer = trainers.WordPieceTrainer(
        vocab_size=900, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    theirs.train_from_iterator([*PROSE.read_text("utf-8").splitlines(), *[OTHER_SCRIPTS] * 5], trainer)
    theirs.add_tokens([AddedToken("<tool>", normalized=False)])
    ids = {token: theirs.token_to_id(token) for token in ADDED}
    theirs.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tokens = [theirs.id_to_token(i) for i in range(theirs.get_vocab_size())]
    assert 500 < len(tokens)
    spec = TokenizerSpec(
        model="wordpiece", tokens=tokens, source="learnt", token_types=[ADDED.get(t, NORMAL) for t in tokens],
        bos_token_id=ids["[CLS]"], eos_token_ids=(ids["[SEP]"],), unk_token_id=ids["[UNK]"], add_bos_token=True,
        add_eos_token=True, do_lower_case=lower, strip_accents=strip, tokenize_chinese_chars=chinese,
        max_input_chars_per_word=30,
    )  # fmt: skip
    return WordPieceTokenizer(spec), theirs


def known_characters() -> str:
    """Characters whose kind is the same in the tables of both, which are of different years.

    What Unicode 3.2 has and is what it was, and of later characters letters and symbols, of which no rule speaks.
    """

    def known(char: str) -> bool:
        kind, before = unicodedata.category(char), unicodedata.ucd_3_2_0.category(char)
        return kind in ("Lo", "So") if before == "Cn" else kind == before

    return "".join(c for c in map(chr, range(0x110000)) if not 0xD800 <= ord(c) < 0xE000 and known(c))


FRAGMENTS = [
    *(" ", "  ", "\n", "\t", "\u00a0", "\u3000", "\u200b", "\ufffd", "\0", "e\u0301", "\u0323\u0301", "Σ", "İ", "ß"),
    *(
        "the",
        "The",
        "tests",
        "don't",
        "日本",
        "русский",
        "한국어",
        "!",
        "...",
        "[CLS]",
        "[MASK]",
        "<tool>",
        "##",
        "naïve",
    ),
    *("😀", "👩\u200d👧", "x" * 30, "y" * 31, "ﬁ", "Ǆ", "豈"),
]
texts = st.lists(
    st.sampled_from(FRAGMENTS) | st.sampled_from(known_characters()) | st.text(st.characters(codec="ascii"))
).map("".join)


@pytest.mark.proves("tokenizers", tokenizer="wordpiece", vocabulary="specification")
def test_ids_and_texts_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(texts)
    def check(text: str) -> None:
        expected = theirs.encode(text).ids
        assert ours.encode(text, parse_special=True) == expected
        for skip in (True, False):
            assert ours.decode(expected, skip_special_tokens=skip) == theirs.decode(expected, skip_special_tokens=skip)

    check()


@pytest.mark.parametrize("both", OPTIONS[::7], indirect=True, ids=("uncased", "cased"))
def test_every_character_alone(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    texts = [f"a{char}b" for char in known_characters()]
    encoded = theirs.encode_batch_fast(texts, add_special_tokens=False)
    differing = [
        text
        for text, expected in zip(texts, encoded, strict=True)
        if ours.encode(text, add_special_tokens=False) != expected.ids
    ]
    assert differing == []
