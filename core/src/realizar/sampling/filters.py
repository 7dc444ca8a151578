"""Samplers that narrow or reshape the candidates, each as its paper has it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from realizar.sampling import ranking
from realizar.sampling.candidates import Candidates
from realizar.sampling.ranking import Ranking


def temperature(candidates: Candidates, degrees: float) -> Candidates:
    """Divide the distances of the logits from the highest; no temperature is small enough to overflow."""
    return candidates if degrees == 1 else candidates.with_logits(candidates.log_weights / degrees)


def dynamic_temperature(candidates: Candidates, low: float, high: float, exponent: float) -> Candidates:
    """A temperature from `low` to `high` by the entropy of the candidates, as a share of the highest possible.

    T = low + (high - low) * (H / ln N) ^ exponent. Source: kalomaze 2023, "Dynamic Temperature Sampling", as in
    llama.cpp's `dynatemp`.
    """
    if len(candidates) == 1:
        return candidates
    entropy = float((candidates.probabilities * candidates.surprises).sum())
    share = min(1.0, max(0.0, entropy / math.log(len(candidates))))
    return temperature(candidates, max(low + (high - low) * share**exponent, 1e-6))


def top_k(candidates: Candidates, k: int) -> Candidates:
    """The first `k` in rank. Source: Fan et al. 2018, arXiv:1805.04833, section 5.4."""
    if k >= len(candidates):
        return candidates
    kept = np.zeros(len(candidates), np.bool_)
    kept[ranking.top_k(candidates.logits, k)] = True
    return candidates.keep(kept)


def top_p(candidates: Candidates, share: float) -> Candidates:
    """The shortest head that holds the share. Source: Holtzman et al. 2020, arXiv:1904.09751, section 3.1."""
    return _shortest_head(candidates, candidates.logits, share)


def min_p(candidates: Candidates, share: float) -> Candidates:
    """Those at least `share` as probable as the first. Source: Nguyen et al. 2024, arXiv:2407.01082, section 3."""
    return candidates.keep(candidates.weights >= share)


def typical_p(candidates: Candidates, share: float) -> Candidates:
    """The fewest that hold the share, those first whose surprise is nearest to the entropy.

    Source: Meister et al. 2022, arXiv:2202.00666, section 4. Of equally near ones the lower id comes first.
    """
    surprises = candidates.surprises
    entropy = float((candidates.probabilities * surprises).sum())
    return _shortest_head(candidates, -np.abs(surprises - entropy), share)


def top_n_sigma(candidates: Candidates, n: float) -> Candidates:
    """Those within `n` standard deviations of all logits from the highest. Source: Tang et al. 2024, arXiv:2411.07641.

    The deviation is of all candidates there are.
    """
    return candidates.keep(candidates.log_weights >= -n * float(candidates.logits.std()))


def xtc(candidates: Candidates, threshold: float, probability: float, u: float) -> Candidates:
    """With a probability, all that reach the threshold are left out but the last of them in rank.

    Source: P. E. Weidmann 2024, "Exclude Top Choices", oobabooga/text-generation-webui#6335. u: a draw from [0, 1).
    """
    if u >= probability:
        return candidates
    choices = np.flatnonzero(candidates.probabilities >= threshold)
    if len(choices) < 2:
        return candidates
    kept = np.ones(len(candidates), np.bool_)
    kept[choices] = False
    lowest = candidates.logits[choices].min()
    kept[choices[candidates.logits[choices] == lowest][-1]] = True
    return candidates.keep(kept)


def mirostat(candidates: Candidates, limit: float) -> Candidates:
    """Those whose surprise in bits is at most `limit`; the first in rank if there is none.

    Source: Basu et al. 2021, arXiv:2007.14966; the truncation without its estimate of Zipf's exponent is version 2
    of the authors' code.
    """
    kept = candidates.surprises <= limit * math.log(2)
    kept[candidates.best] = True
    return candidates.keep(kept)


def _shortest_head(candidates: Candidates, scores: NDArray[np.float64], share: float) -> Candidates:
    """The fewest candidates, by falling score and then by id, whose probabilities add up to the share."""
    if share >= 1:
        return candidates
    last, _ = Ranking(scores, candidates.weights).reaching(share * candidates.total)
    before = scores > scores[last]
    before[: last + 1] |= scores[: last + 1] == scores[last]
    return candidates.keep(before)
