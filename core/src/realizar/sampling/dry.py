"""Don't repeat yourself: a penalty on the token that would go on with what the text already said once.

Source: P. E. Weidmann 2024, oobabooga/text-generation-webui#5677.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

MAX_LENGTH = 256
"""Tokens of a repeat that are counted; the penalty is beyond any logit long before."""

MAX_PENALTY = 1e6


class History:
    """The last tokens of prompt and output, and which of them end a repeat.

    is_breaker: whether a token's text has one of the sequence breakers; asked once for each distinct token.
    """

    def __init__(self, ids: Sequence[int], last_n: int, is_breaker: Callable[[int], bool]) -> None:
        self._is_breaker = is_breaker
        self._known: dict[int, bool] = {}
        self._last_n = last_n
        self._ids = list(ids)[-last_n:]

    def append(self, token_id: int) -> None:
        """One more token; the oldest beyond the limit is forgotten."""
        self._ids.append(token_id)
        if len(self._ids) >= 2 * self._last_n:
            del self._ids[: -self._last_n]

    def repeats(self) -> dict[int, int]:
        """Token -> the length of the longest repeat that it would go on with.

        That is how many tokens before an earlier occurrence of it are the same as the last ones, up to a breaker.
        """
        ids = self._ids[-self._last_n :]
        if len(ids) < 2 or self._breaks(ids[-1]):
            return {}
        row = np.array(ids)
        followers = np.flatnonzero(row[:-1] == row[-1]) + 1  # each follows an earlier occurrence of the last token
        lengths: dict[int, int] = {}
        length = 1
        while followers.size and length <= MAX_LENGTH:
            lengths.update(dict.fromkeys(row[followers].tolist(), length))
            length += 1
            if length > len(ids) or self._breaks(ids[-length]):
                break
            followers = followers[followers >= length]
            followers = followers[row[followers - length] == ids[-length]]
        return lengths

    def _breaks(self, token_id: int) -> bool:
        if token_id not in self._known:
            self._known[token_id] = self._is_breaker(token_id)
        return self._known[token_id]


def penalties(
    repeats: dict[int, int], multiplier: float, base: float, allowed_length: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ids in ascending order and what is taken off their logits: multiplier * base ^ (length - allowed_length)."""
    long = sorted((token_id, length) for token_id, length in repeats.items() if length >= allowed_length)
    ids = np.array([token_id for token_id, _ in long], np.int64)
    lengths = np.array([length for _, length in long], np.float64)
    with np.errstate(over="ignore"):
        taken = multiplier * np.power(base, lengths - allowed_length)
    return ids, np.minimum(taken, MAX_PENALTY)
