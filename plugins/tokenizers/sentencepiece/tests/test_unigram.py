from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar_sentencepiece.unigram import Unigram

UNKNOWN = -30.0
tables = st.dictionaries(st.text("abc", min_size=1, max_size=5), st.integers(-20, 0).map(float), max_size=20)


def best_score(word: str, scores: dict[str, float]) -> float:
    """The highest score of any segmentation, by trying all of them."""
    if not word:
        return 0.0
    choices = [scores[word[:n]] + best_score(word[n:], scores) for n in range(1, len(word) + 1) if word[:n] in scores]
    if word[0] not in scores:
        choices.append(UNKNOWN + best_score(word[1:], scores))
    return max(choices)


@given(st.text("abcd", max_size=9), tables)
def test_the_best_segmentation_is_found(word: str, scores: dict[str, float]) -> None:
    pieces = Unigram(scores, UNKNOWN)(word)
    assert "".join(pieces) == word
    assert all(piece in scores or len(piece) == 1 for piece in pieces)
    assert sum(scores.get(piece, UNKNOWN) for piece in pieces) == best_score(word, scores)


def test_many_good_pieces_beat_a_bad_long_one() -> None:
    scores = {"a": -1.0, "b": -1.0, "ab": -2.5, "abc": -9.0, "c": -1.0}
    assert Unigram(scores, UNKNOWN)("abc") == ["a", "b", "c"]
    assert Unigram(scores | {"ab": -1.5}, UNKNOWN)("abc") == ["ab", "c"]


def test_an_equal_score_keeps_the_longer_last_piece() -> None:
    assert Unigram({"a": -1.0, "aa": -1.0}, UNKNOWN)("aaa") == ["a", "aa"]


@pytest.mark.parametrize("word", ["", "x", "xy"])
def test_what_no_piece_spells(word: str) -> None:
    assert Unigram({"a": -1.0}, UNKNOWN)(word) == list(word)
