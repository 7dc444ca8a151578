from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar_bpe.merges import merge


def merged_by_definition(symbols: list[str], ranks: Mapping[str, int]) -> list[str]:
    """Join the leftmost pair of lowest rank, again and again."""
    symbols = list(symbols)
    while True:
        ranked = [(ranks[pair], i) for i in range(len(symbols) - 1) if (pair := " ".join(symbols[i : i + 2])) in ranks]
        if not ranked:
            return symbols
        _, i = min(ranked)
        symbols[i : i + 2] = ["".join(symbols[i : i + 2])]


class Counting(dict[str, int]):
    """Ranks that count how often they are asked."""

    questions = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.questions += 1
        return super().get(key, default)


pieces = st.text("ab", min_size=1, max_size=3)
tables = st.lists(st.tuples(pieces, pieces).map(" ".join), unique=True, max_size=12).map(
    lambda merges: {pair: rank for rank, pair in enumerate(merges)}
)


@given(st.text("abc", max_size=60), tables)
def test_merging_follows_the_definition(word: str, ranks: dict[str, int]) -> None:
    assert merge(word, ranks) == merged_by_definition(list(word), ranks)


def test_a_lower_rank_wins_over_a_place_further_left() -> None:
    assert merge("abc", {"b c": 0, "a b": 1}) == ["a", "bc"]


def test_equal_ranks_merge_from_the_left() -> None:
    assert merge("aaa", {"a a": 0}) == ["aa", "a"]


def test_nothing_to_merge() -> None:
    assert merge("", {"a b": 0}) == []
    assert merge("a", {"a b": 0}) == ["a"]


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_work_grows_with_the_length_of_a_run(count: int) -> None:
    ranks = Counting({f"{'a' * 2**i} {'a' * 2**i}": i for i in range(5)})
    assert merge("a" * count, ranks) == ["a" * 32] * (count // 32) + [r for r in ["a" * (count % 32)] if r]
    assert ranks.questions <= 3 * count
