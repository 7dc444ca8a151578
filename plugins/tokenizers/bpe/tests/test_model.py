"""BPE as the model of a tokenizer.json."""

from __future__ import annotations

from typing import Any

import pytest

from realizar.errors import TokenizerError
from realizar.model import BYTE, CONTROL, NORMAL, TokenizerSpec
from realizar.pipeline.pipeline import ModelOptions, Pipeline
from realizar_bpe.factory import BpeTokenizerFactory

TOKENS = ["<s>", "a", "b", "ab", "abab", "##a", "##b", "a##b", "b</w>", "ab</w>", "?"]
BYTES = [f"<0x{byte:02X}>" for byte in "é".encode()]


def ids(word: str, merges: list[str], **options: Any) -> list[int]:
    tokens = [*TOKENS, *BYTES]
    types = [CONTROL, *[NORMAL] * (len(TOKENS) - 1), *[BYTE] * len(BYTES)]
    pipeline = Pipeline(ModelOptions(**options))
    spec = TokenizerSpec("bpe", tokens, "x.json", token_types=types, merges=merges, pipeline=pipeline)
    return list(BpeTokenizerFactory().build_model(spec).word_ids(word))


@pytest.mark.parametrize(
    ("word", "merges", "options", "expected"),
    [
        ("aba", ["a b"], {}, [3, 1]),
        ("abab", ["a b", "ab ab"], {}, [4]),
        ("abab", [], {}, [1, 2, 1, 2]),
        ("abab", [], {"ignore_merges": True}, [4]),
        ("aab", [], {"continuing_subword_prefix": "##"}, [1, 5, 6]),
        ("ab", ["a ##b"], {"continuing_subword_prefix": "##"}, [3]),
        ("ab", ["a b</w>"], {"end_of_word_suffix": "</w>"}, [9]),
        ("axxb", [], {"unk_token_id": 10}, [1, 10, 10, 2]),
        ("axxb", [], {"unk_token_id": 10, "fuse_unk": True}, [1, 10, 2]),
        ("aé", [], {"byte_fallback": True, "ignore_merges": True}, [1, 11, 12]),
        ("éx", [], {"byte_fallback": True, "unk_token_id": 10}, [11, 12, 10]),
        ("", [], {}, []),
        ("", [], {"end_of_word_suffix": "</w>"}, []),
    ],
)
def test_ids(word: str, merges: list[str], options: dict[str, Any], expected: list[int]) -> None:
    assert ids(word, merges, **options) == expected


def test_an_unknown_character_without_an_unknown_token() -> None:
    with pytest.raises(TokenizerError, match=r"x\.json: the vocabulary has no token for 'x' and no unknown token"):
        ids("x", [])


@pytest.mark.parametrize("merge", ["a x", "x a", "b a", "a b a", "ab"])
def test_a_merge_of_what_is_not_there(merge: str) -> None:
    with pytest.raises(TokenizerError, match="merge 0 is"):
        ids("a", [merge])


def test_no_word_becomes_a_control_token() -> None:
    with pytest.raises(TokenizerError, match="no token for '<'"):
        ids("<s>", [], ignore_merges=True)
