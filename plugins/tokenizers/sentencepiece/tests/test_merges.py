from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar_sentencepiece.merges import merge, ranks_by_score


def merged_by_definition(word: str, scores: Mapping[str, float]) -> list[str]:
    """Join the leftmost of the best scored pairs, again and again."""
    pieces = list(word)
    while True:
        known = [(-scores[pair], i) for i in range(len(pieces) - 1) if (pair := pieces[i] + pieces[i + 1]) in scores]
        if not known:
            return pieces
        _, i = min(known)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


class Counting(dict[str, int]):
    """Ranks that count how often they are asked."""

    questions = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.questions += 1
        return super().get(key, default)


tables = st.dictionaries(st.text("ab", min_size=2, max_size=5), st.sampled_from([0.0, -1.0, -1.5, -2.0]), max_size=12)


@given(st.text("abc", max_size=60), tables)
def test_merging_follows_the_definition(word: str, scores: dict[str, float]) -> None:
    assert merge(word, ranks_by_score(scores)) == merged_by_definition(word, scores)


def test_equal_scores_share_a_rank_and_merge_from_the_left() -> None:
    ranks = ranks_by_score({"ab": -1.0, "bc": -1.0, "cd": 3.0})
    assert ranks == {"cd": 0, "ab": 1, "bc": 1}
    assert merge("abc", ranks) == ["ab", "c"]


def test_nothing_to_merge() -> None:
    assert merge("", {"ab": 0}) == []
    assert merge("a", {"ab": 0}) == ["a"]


def test_an_unused_piece_leads_to_longer_ones_or_falls_apart() -> None:
    ranks = {"ab": 0, "abc": 1, "abcd": 2}
    assert merge("abcd", ranks, unused={"ab", "abc"}) == ["abcd"]
    assert merge("abcx", ranks, unused={"abc"}) == ["ab", "c", "x"]
    assert merge("abcx", ranks, unused={"ab", "abc"}) == ["a", "b", "c", "x"]


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_work_grows_with_the_length_of_a_run(count: int) -> None:
    ranks = Counting({"a" * 2 ** (i + 1): i for i in range(5)})
    assert merge("a" * count, ranks) == ["a" * 32] * (count // 32) + [r for r in ["a" * (count % 32)] if r]
    assert ranks.questions <= 3 * count
