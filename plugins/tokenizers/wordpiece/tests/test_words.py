from __future__ import annotations

from typing import Any

import attrs
import pytest

from realizar.model import TokenizerSpec
from realizar_wordpiece.words import BasicTokenizer

UNCASED = TokenizerSpec(model="wordpiece", tokens=[], source="x")


def words(text: str, **options: Any) -> list[str]:
    return BasicTokenizer(attrs.evolve(UNCASED, **options)).words(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n\r\u00a0\u3000\u2028 ", []),
        ("Hello,  World!", ["hello", ",", "world", "!"]),
        ("don't $5 a_b", ["don", "'", "t", "$", "5", "a", "_", "b"]),
        ("«Ça» … naïve", ["«", "ca", "»", "…", "naive"]),
        ("a\u0301\u0323b", ["ab"]),
        ("漢字かな", ["漢", "字", "かな"]),
        ("x\u4dff\u4e00\U00020000", ["x\u4dff", "\u4e00", "\U00020000"]),
        ("a\x00b\ufffdc\u200bd\x07e\x0bf\x85g", ["abcdefg"]),
        ("한", ["\u1112\u1161\u11ab"]),
        ("ΟΔΟΣ", ["οδος".replace("ς", "σ")]),
        ("İ", ["i"]),
        ("👍🏽 a👩\u200d👧b", ["👍🏽", "a👩👧b"]),
        ("a\ud800b", ["ab"]),
    ],
)
def test_uncased(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_cased_keeps_capitals_and_accents() -> None:
    assert words("Él, Ñ", do_lower_case=False, strip_accents=False) == ["Él", ",", "Ñ"]


def test_accents_go_by_their_own_option() -> None:
    assert words("Él", do_lower_case=False, strip_accents=True) == ["El"]
    assert words("Él 한", do_lower_case=True, strip_accents=False) == ["él", "한"]


def test_ideographs_stay_together_where_the_file_says_so() -> None:
    assert words("a漢字b", tokenize_chinese_chars=False) == ["a漢字b"]
