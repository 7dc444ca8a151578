"""Tokens in rank order, over a vocabulary that is never sorted whole: first ids, and where a share of weight ends.

Everywhere the rank of a token is: higher logit first, equal logits by lower id.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_HEAD = 256
"""Tokens that are sorted at once."""

_BINS = 2048
"""Ranges of logits that a vocabulary is cut into where the head is not enough."""

_CHUNK = 16384
"""Tokens put into bins at once: larger temporaries would be fresh pages, whose first use costs more than the work."""

_ROWS = 32


def top_k(logits: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """The ids of the `k` first-ranked of `logits` [V], in rank order; all of them if k >= V."""
    if k >= logits.shape[0]:
        return np.argsort(-logits, kind="stable")
    ids = np.flatnonzero(logits >= _lower_bound(logits, k))
    return ids[np.argsort(-logits[ids], kind="stable")[:k]]


def _lower_bound(logits: NDArray[np.floating], k: int) -> float:
    """A number that at least `k` of `logits` reach, and few more.

    The k-th greatest of the maxima of strides is reached by those k maxima; it costs one pass, where partitioning
    the vocabulary costs twenty. With few strides for k, the vocabulary is partitioned after all.
    """
    size = logits.shape[0]
    num_strides = size // _ROWS
    if num_strides >= 2 * k:
        maxima = logits[: num_strides * _ROWS].reshape(_ROWS, num_strides).max(axis=0)
        return float(np.partition(maxima, num_strides - k)[num_strides - k])
    return float(np.partition(logits, size - k)[size - k])


class Ranking:
    """Finds the token at which the weights of the first-ranked add up to a mass.

    logits: [V], ranks the tokens. weights: float64 [V], at most 1; not all 0.
    Most masses end among the first few tokens, which are sorted. Else the logits are cut into bins of equal width,
    and the search goes on in the bin where the mass ends.
    """

    def __init__(self, logits: NDArray[np.floating], weights: NDArray[np.float64]) -> None:
        self._logits, self._weights = logits, weights

    def exceeding(self, mass: float) -> int:
        """The first id at which the weight so far is more than `mass`; the last with weight if there is none."""
        return self._find(mass, "right")[0]

    def reaching(self, mass: float) -> tuple[int, float]:
        """The first id at which the weight so far is at least `mass` (or the last with weight), and that weight."""
        return self._find(mass, "left")

    def first(self, *ids: int) -> int:
        """Which of these ids ranks first."""
        return min(ids, key=lambda i: (-self._logits[i], i))

    def _find(self, mass: float, side: Literal["left", "right"]) -> tuple[int, float]:
        size = self._logits.shape[0]
        if mass < self._head_size or self._head_size == size:  # a greater mass needs more tokens
            ids, cumulative = self._head
            at = _place(cumulative, mass, side, clamped=self._head_size == size)
            if at < len(ids):
                return int(ids[at]), float(cumulative[at])
        bins, cumulative = self._bins
        at = _place(cumulative, mass, side, clamped=True)
        above = float(cumulative[at - 1]) if at else 0.0
        window = np.flatnonzero(bins == at)
        found, weight = Ranking(self._logits[window], self._weights[window])._find(mass - above, side)
        return int(window[found]), above + weight

    @cached_property
    def _head_size(self) -> int:
        """Tokens that are sorted at once: a few, or all if they are few or equal."""
        size = self._logits.shape[0]
        return size if size <= _HEAD or self._logits.max() == self._logits.min() else _HEAD

    @cached_property
    def _head(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The first-ranked ids and their cumulative weights."""
        ids = top_k(self._logits, self._head_size)
        return ids, np.cumsum(self._weights[ids])

    @cached_property
    def _bins(self) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
        """The bin of each token, the highest logits first, and the cumulative weights of bins; never all in one bin."""
        logits = self._logits
        highest, lowest = float(logits.max()), float(logits.min())
        has_banned = lowest == -np.inf
        if has_banned:  # they say nothing about where the others lie
            lowest = float(np.where(logits == -np.inf, highest, logits).min())
        scale = _BINS / ((highest - lowest) or 1.0)
        bins, masses = np.empty(logits.shape, np.int16), np.zeros(_BINS + 1)
        for start in range(0, len(logits), _CHUNK):
            part = slice(start, start + _CHUNK)
            depth = np.subtract(highest, logits[part], dtype=np.float64)
            depth *= scale
            if has_banned:
                np.minimum(depth, _BINS, out=depth)
            bins[part] = depth
            masses += np.bincount(bins[part], self._weights[part], _BINS + 1)
        return bins, np.cumsum(masses)


def _place(cumulative: NDArray[np.float64], mass: float, side: Literal["left", "right"], *, clamped: bool) -> int:
    """The first index at which `cumulative` passes `mass`; if none does, its length or, clamped, the last that adds."""
    at = int(np.searchsorted(cumulative, mass, side))
    if clamped:  # sums round differently: a mass past the end belongs to the last token that has weight
        at = min(at, int(np.searchsorted(cumulative, cumulative[-1], "left")))
    return at
