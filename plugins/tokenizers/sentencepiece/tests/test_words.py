from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from realizar_sentencepiece.words import SPACE, word_pattern


def cuts(pieces: list[str], text: str, suffix: bool = False) -> list[str]:
    return word_pattern([piece.replace("_", SPACE) for piece in pieces], suffix=suffix).findall(text)


def test_words_keep_the_spaces_before_them() -> None:
    assert cuts(["_a", "a", "__"], "▁a▁▁b▁") == ["▁a", "▁▁b", "▁"]


def test_words_keep_the_spaces_behind_them_in_suffix_mode() -> None:
    assert cuts(["a_", "a", "__"], "▁a▁▁b▁c", suffix=True) == ["▁", "a▁▁", "b▁", "c"]


def test_no_cut_where_a_piece_reaches_over() -> None:
    assert cuts([">_<"], "▁a>▁<b▁c") == ["▁a>▁<b", "▁c"]
    assert cuts([">_<"], "▁a>▁<b▁c▁", suffix=True) == ["▁", "a>▁<b▁", "c▁"]


@given(
    st.lists(st.text("ab_]", min_size=1, max_size=4), max_size=5),
    st.text(f"ab{SPACE}]", max_size=30),
    st.booleans(),
)
def test_words_cover_the_text_and_cut_no_piece(pieces: list[str], text: str, suffix: bool) -> None:
    words = cuts(pieces, text, suffix)
    assert "".join(words) == text
    pairs = {piece[i : i + 2].replace("_", SPACE) for piece in pieces for i in range(len(piece) - 1)}
    for left, right in zip(words, words[1:], strict=False):
        assert left[-1] + right[0] not in pairs
