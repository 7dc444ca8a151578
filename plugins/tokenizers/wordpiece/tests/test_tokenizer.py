from __future__ import annotations

from typing import Any

import attrs
import pytest

from realizar.errors import TokenizerError
from realizar.model import TokenizerSpec
from realizar_wordpiece.tokenizer import WordPieceTokenizer


def pieces(spec: TokenizerSpec, text: str, **options: Any) -> list[str]:
    ids = WordPieceTokenizer(spec).encode(text, **{"add_special_tokens": False, **options})
    return [spec.tokens[i] for i in ids]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unaffable", "un ##aff ##able"),
        ("UNAFFÁBLE running", "un ##aff ##able run ##ning"),
        ("the-cafés", "the - cafe ##s"),
        ("漢字", "漢 字"),
        ("x é 日 runé日", "x e [UNK] run ##e [UNK]"),
        ("a👍", "[UNK]"),
        ("the<tool>run", "the <tool> run"),
        ("<Tool>", "< t ##o ##o ##l >"),
        ("a[SEP]b", "a [ s ##e ##p ] b"),
    ],
)
def test_pieces(small: TokenizerSpec, small_gguf: TokenizerSpec, text: str, expected: str) -> None:
    assert pieces(small, text) == expected.split()
    ids = [small.tokens.index(piece) for piece in expected.split()]
    assert WordPieceTokenizer(small_gguf).encode(text, add_special_tokens=False) == ids


def test_special_tokens(small: TokenizerSpec) -> None:
    assert pieces(small, "a[SEP]b", parse_special=True) == ["a", "[SEP]", "b"]
    assert pieces(small, "the", add_special_tokens=True) == ["[CLS]", "the", "[SEP]"]
    assert pieces(small, "", add_special_tokens=True) == ["[CLS]", "[SEP]"]


def test_longer_words_are_unknown(small: TokenizerSpec) -> None:
    assert len(pieces(small, "x" * 100)) == 100
    assert pieces(small, "x" * 101) == ["[UNK]"]
    assert pieces(attrs.evolve(small, max_input_chars_per_word=3), "runs run") == ["[UNK]", "run"]


def test_without_an_unknown_token_a_text_may_be_refused(small: TokenizerSpec) -> None:
    tokenizer = WordPieceTokenizer(attrs.evolve(small, unk_token_id=None))
    assert tokenizer.encode("the", add_special_tokens=False) == [small.tokens.index("the")]
    with pytest.raises(TokenizerError, match=r"vocab\.txt: .*cannot spell the word '日'.*no unknown token"):
        tokenizer.encode("日")


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("Unaffable, the RUN! a ? b's don't", "unaffable, the run! a? b ' s don ' t"),
        ("hello-world", "hello - world"),
        ("é日", "e [UNK]"),
    ],
)
def test_decode(small: TokenizerSpec, text: str, decoded: str) -> None:
    tokenizer = WordPieceTokenizer(small)
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=False) == f"[CLS] {decoded} [SEP]"
    assert tokenizer.decode(tokenizer.encode(text)) == decoded.replace(" [UNK]", "")


def test_a_stream_can_be_used_again(small: TokenizerSpec) -> None:
    tokenizer = WordPieceTokenizer(small)
    stream, ids = tokenizer.stream(), tokenizer.encode("the run")
    for _ in range(2):
        assert "".join(map(stream.push, ids)) + stream.finish() == "the run"


def test_token_bytes(small: TokenizerSpec, small_gguf: TokenizerSpec) -> None:
    for spec in (small, small_gguf):
        tokenizer = WordPieceTokenizer(spec)
        asked = ("##able", "the", "[CLS]", "漢")
        spelled = {piece: tokenizer.token_bytes(small.tokens.index(piece)) for piece in asked}
        assert spelled == {"##able": b"able", "the": b"the", "[CLS]": b"[CLS]", "漢": "漢".encode()}
