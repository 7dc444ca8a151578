from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar_sentencepiece.words import SPACE, WordCutter


def cuts(pieces: list[str], text: str) -> list[str]:
    return [
        word.replace(SPACE, "_") for word in WordCutter(p.replace("_", SPACE) for p in pieces)(text.replace("_", SPACE))
    ]


def test_cuts_where_no_piece_has_both_neighbours() -> None:
    assert cuts(["_a", "a", "__", "abc"], "_a__abc_bca") == ["_a", "__abc", "_", "bc", "a"]
    assert cuts(["a_", "__"], "_a__b_c") == ["_", "a__", "b", "_", "c"]
    assert cuts([">_<"], "_a>_<b") == ["_", "a", ">_<", "b"]


@pytest.mark.parametrize("pieces", [[], ["a"], ["a", "b"]])
def test_without_longer_pieces_every_character_is_a_word(pieces: list[str]) -> None:
    assert cuts(pieces, "ab_") == ["a", "b", "_"]
    assert cuts(pieces, "") == []


@given(st.lists(st.text("ab_漢😀", min_size=1, max_size=4), max_size=5), st.text("ab_漢😀", max_size=30))
def test_words_cover_the_text_and_cut_no_piece(pieces: list[str], text: str) -> None:
    words = cuts(pieces, text)
    assert "".join(words) == text
    assert all(words)
    inside = {left + right for piece in pieces for left, right in pairwise(piece)}
    assert all(left[-1] + right[0] not in inside for left, right in pairwise(words))


@pytest.mark.parametrize("last", ["_", "\ud7ff", "\U0010ffff"])
def test_a_long_text_has_the_words_of_its_parts(last: str) -> None:
    pieces = ["_a", "abc", "bb"]
    part = f"_a_abc_bbb{last}"
    assert cuts(pieces, part * 500) == cuts(pieces, part) * 500
