"""Which tokens may be drawn: ranks and thresholds over a vocabulary that is never sorted whole unless it must be.

Everywhere the rank of a token is: higher logit first, equal logits by lower id.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FIRST_HEAD = 256
_HEAD_GROWTH = 8
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


def head(
    logits: NDArray[np.float64], weights: NDArray[np.float64], mass: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First-ranked ids whose weights sum to more than `mass`, in rank order, and their cumulative weights.

    The head may be longer than it must; it is the whole vocabulary if the weights never exceed `mass`.
    logits, weights: [V]; a weight falls with its logit.
    """
    size = _FIRST_HEAD
    while True:
        ids = top_k(logits, size)
        cumulative = np.cumsum(weights[ids])
        if cumulative[-1] > mass or size >= logits.shape[0]:
            return ids, cumulative
        size *= _HEAD_GROWTH


def top_p(logits: NDArray[np.float64], weights: NDArray[np.float64], p: float) -> NDArray[np.int64]:
    """The shortest head of ids, in rank order, that holds at least the share `p` of all weight; never empty.

    Source: Holtzman et al. 2020, arXiv:1904.09751, section 3.1.
    """
    mass = p * float(weights.sum())
    ids, cumulative = head(logits, weights, mass)
    return ids[: int(np.searchsorted(cumulative, mass, side="left")) + 1]


def min_p(weights: NDArray[np.float64], p: float) -> NDArray[np.bool_]:
    """Which tokens weigh at least `p` times the heaviest, [V]. Source: Nguyen et al. 2024, arXiv:2407.01082."""
    heavy: NDArray[np.bool_] = weights >= p * weights.max()
    return heavy
