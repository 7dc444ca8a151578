"""SentencePiece's models as the model of a tokenizer.json."""

from __future__ import annotations

from typing import Any

import pytest

from realizar.errors import TokenizerError
from realizar.model import BYTE, CONTROL, NORMAL, USER_DEFINED, TokenizerSpec
from realizar_sentencepiece.factory import SentencePieceTokenizerFactory

TOKENS = ["<unk>", "<s>", "▁", "a", "b", "▁a", "ab", "<t>"]
TYPES = [NORMAL, CONTROL, *[NORMAL] * 5, USER_DEFINED]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def ids(word: str, model: str, *, with_bytes: bool = False, **changes: Any) -> list[int]:
    extra = BYTES if with_bytes else []
    values: dict[str, Any] = {"unk_token_id": 0, "add_bos_token": True}
    if model == "unigram":
        values["scores"] = [0.0, 0.0, -3.0, -2.0, -2.0, -4.0, -3.5, 0.0, *[0.0] * len(extra)]
    else:
        values["merges"] = ["▁ a", "a b"]
    types = [*TYPES, *[BYTE] * len(extra)]
    spec = TokenizerSpec(model, [*TOKENS, *extra], "x.json", token_types=types, **values | changes)
    return list(SentencePieceTokenizerFactory().build_model(spec).word_ids(word))


@pytest.mark.parametrize(
    ("word", "expected"),
    [("▁a", [5]), ("▁ab", [5, 4]), ("aab", [3, 6]), ("xxa", [0, 3]), ("<s>", [0]), ("<t>", [0]), ("", [])],
)
def test_merges(word: str, expected: list[int]) -> None:
    assert ids(word, "spm") == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [("▁a", [5]), ("ab", [6]), ("▁ab", [5, 4]), ("axxa", [3, 0, 3]), ("<s>", [0]), ("<t>", [0])],
)
def test_unigram(word: str, expected: list[int]) -> None:
    assert ids(word, "unigram") == expected


@pytest.mark.parametrize("model", ["spm", "unigram"])
def test_bytes_come_before_the_unknown_token(model: str) -> None:
    assert ids("aé", model, with_bytes=True) == [3, 8 + 0xC3, 8 + 0xA9]


@pytest.mark.parametrize("model", ["spm", "unigram"])
def test_long_words_are_cut_where_nothing_changes(model: str) -> None:
    assert ids("▁ab" * 50 + "xx" * 50, model) == [5, 4] * 50 + [0]


def test_nothing_for_the_unknown() -> None:
    with pytest.raises(TokenizerError, match="no unknown token"):
        ids("x", "spm", unk_token_id=None)
