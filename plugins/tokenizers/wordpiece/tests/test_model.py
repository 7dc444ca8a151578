"""WordPiece as the model of a tokenizer.json."""

from __future__ import annotations

from typing import Any

import pytest

from realizar.errors import TokenizerError
from realizar.model import CONTROL, NORMAL, TokenizerSpec
from realizar.pipeline.pipeline import ModelOptions, Pipeline
from realizar_wordpiece.factory import WordPieceTokenizerFactory

TOKENS = ["[UNK]", "[CLS]", "un", "##aff", "##able", "aff", "able", "##", "a", "@aff"]


def ids(word: str, **options: Any) -> list[int]:
    types = [CONTROL, CONTROL, *[NORMAL] * (len(TOKENS) - 2)]
    pipeline = Pipeline(ModelOptions(**{"unk_token_id": 0, "continuing_subword_prefix": "##"} | options))
    spec = TokenizerSpec("wordpiece", TOKENS, "x.json", token_types=types, pipeline=pipeline)
    return list(WordPieceTokenizerFactory().build_model(spec).word_ids(word))


@pytest.mark.parametrize(
    ("word", "options", "expected"),
    [
        ("unaffable", {}, [2, 3, 4]),
        ("affable", {}, [5, 4]),
        ("##able", {}, [4]),
        ("unun", {}, [0]),
        ("x", {}, [0]),
        ("[CLS]", {}, [0]),
        ("", {}, []),
        ("unaff", {"continuing_subword_prefix": "@"}, [2, 9]),
        ("unable", {"continuing_subword_prefix": ""}, [2, 6]),
        ("unable", {"max_input_chars_per_word": 5}, [0]),
        ("unable", {"max_input_chars_per_word": 6}, [2, 4]),
    ],
)
def test_ids(word: str, options: dict[str, Any], expected: list[int]) -> None:
    assert ids(word, **options) == expected


@pytest.mark.parametrize("options", [{}, {"max_input_chars_per_word": 0}])
def test_nothing_for_the_unknown(options: dict[str, Any]) -> None:
    with pytest.raises(TokenizerError, match=r"x\.json: .*cannot spell the word 'x' and names no unknown token"):
        ids("x", unk_token_id=None, **options)


def test_types_that_do_not_fit() -> None:
    spec = TokenizerSpec("wordpiece", TOKENS, "x.json", token_types=[NORMAL])
    with pytest.raises(TokenizerError, match="1 token types for 10 tokens"):
        WordPieceTokenizerFactory().build_model(spec)
