from __future__ import annotations

import string
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


IDEOGRAPHS = (
    "\u3400\u4dbf", "\u4e00\u9fff", "\U00020000\U0002a6df", "\U0002a700\U0002b73f", "\U0002b740\U0002b81f",
    "\U0002b920\U0002ceaf", "\uf900\ufaff", "\U0002f800\U0002fa1f",
)  # fmt: skip
"""First and last of each block, from `tokenizers`, where the last but two begins 256 characters late."""


@pytest.mark.parametrize("block", IDEOGRAPHS, ids=ascii)
def test_ideographs_from_first_to_last(block: str) -> None:
    """Before the first and behind the last are other characters, or other blocks."""
    for char in block:
        assert words(f"a{char}b", strip_accents=False) == ["a", char, "b"]
    known = {chr(code) for pair in IDEOGRAPHS for code in (ord(pair[0]), ord(pair[1]))}
    for char in {chr(ord(block[0]) - 1), chr(ord(block[1]) + 1)} - known:
        assert words(f"a{char}b", strip_accents=False) in ([f"a{char}b"], ["ab"])  # some are not assigned


def test_every_sign_of_ascii_is_a_word() -> None:
    for char in string.punctuation:
        assert words(f"a{char}b") == ["a", char, "b"]


def test_cased_keeps_capitals_and_accents() -> None:
    assert words("Él, Ñ", do_lower_case=False, strip_accents=False) == ["Él", ",", "Ñ"]


def test_accents_go_by_their_own_option() -> None:
    assert words("Él", do_lower_case=False, strip_accents=True) == ["El"]
    assert words("Él 한", do_lower_case=True, strip_accents=False) == ["él", "한"]


def test_ideographs_stay_together_where_the_file_says_so() -> None:
    assert words("a漢字b", tokenize_chinese_chars=False) == ["a漢字b"]
