"""A chain of samplers in the order that a request asks for, and the draw at its end."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.sampling import dry, filters
from realizar.sampling.candidates import Candidates
from realizar.sampling.explanation import Explanation
from realizar.sampling.params import DEFAULT_SAMPLERS, SamplingParams
from realizar.sampling.philox import uniform
from realizar.sampling.ranking import Ranking
from realizar.sampling.state import SamplerState

XTC_STREAM = 1
"""Which of the draws of a position decides whether XTC acts; the token's own is stream 0."""


@attrs.frozen
class Draw:
    """What a sampler may read beside the candidates."""

    params: SamplingParams
    state: SamplerState
    position: int
    seed: int


def _dry(candidates: Candidates, draw: Draw) -> Candidates:
    params, history = draw.params, draw.state.history
    if history is None:
        return candidates
    ids, taken = dry.penalties(history.repeats(), params.dry_multiplier, params.dry_base, params.dry_allowed_length)
    known = np.isin(ids, candidates.ids)
    if not known.any():
        return candidates
    logits = candidates.logits.copy()
    logits[np.searchsorted(candidates.ids, ids[known])] -= taken[known]
    return candidates.with_logits(logits)


def _temperature(candidates: Candidates, draw: Draw) -> Candidates:
    params, width = draw.params, draw.params.dynatemp_range
    if not width:
        return filters.temperature(candidates, params.temperature)
    low, high = max(0.0, params.temperature - width), params.temperature + width
    return filters.dynamic_temperature(candidates, low, high, params.dynatemp_exponent)


def _xtc(candidates: Candidates, draw: Draw) -> Candidates:
    u = uniform(draw.seed, draw.position, XTC_STREAM)
    return filters.xtc(candidates, draw.params.xtc_threshold, draw.params.xtc_probability, u)


def _mirostat(candidates: Candidates, draw: Draw) -> Candidates:
    draw.state.mirostat_candidates = candidates
    return filters.mirostat(candidates, draw.state.mirostat_limit)


SAMPLERS: dict[str, tuple[Callable[[SamplingParams], bool], Callable[[Candidates, Draw], Candidates]]] = {
    "dry": (lambda params: params.dry_multiplier > 0, _dry),
    "temperature": (lambda params: params.temperature != 1 or params.dynatemp_range > 0, _temperature),
    "top_n_sigma": (
        lambda params: params.top_n_sigma > 0,
        lambda candidates, draw: filters.top_n_sigma(candidates, draw.params.top_n_sigma),
    ),
    "top_k": (
        lambda params: params.top_k > 0,
        lambda candidates, draw: filters.top_k(candidates, draw.params.top_k),
    ),
    "typical_p": (
        lambda params: params.typical_p < 1,
        lambda candidates, draw: filters.typical_p(candidates, draw.params.typical_p),
    ),
    "top_p": (
        lambda params: params.top_p < 1,
        lambda candidates, draw: filters.top_p(candidates, draw.params.top_p),
    ),
    "min_p": (
        lambda params: params.min_p > 0,
        lambda candidates, draw: filters.min_p(candidates, draw.params.min_p),
    ),
    "xtc": (lambda params: params.xtc_probability > 0, _xtc),
    "mirostat": (lambda params: params.mirostat > 0, _mirostat),
}
"""Name -> whether a request asks for it, and what it does."""

FAST = ("temperature", "top_k", "top_p", "min_p")
"""Samplers that `sampler.py` has a shorter way for, in this order."""


def needs_chain(params: SamplingParams) -> bool:
    """Whether a request asks for more than `FAST`."""
    extra = any(asked(params) for name, (asked, _) in SAMPLERS.items() if name not in FAST)
    return bool(extra or params.explain or params.dynatemp_range or params.samplers != DEFAULT_SAMPLERS)


def choose(logits: NDArray[np.float32], draw: Draw, explanation: Explanation | None) -> int:
    """The token that the chain leads to: drawn at `uniform(seed, position)`, or the first in rank at temperature 0.

    Greedy heeds what changes logits (DRY) and nothing that only narrows them.
    """
    params, greedy = draw.params, draw.params.temperature == 0 and "temperature" in draw.params.samplers
    candidates = Candidates.of(logits)
    for name in params.samplers:
        asked, apply = SAMPLERS[name]
        if not asked(params) or (greedy and name != "dry"):
            continue
        before, candidates = candidates, apply(candidates, draw)
        if explanation is not None:
            explanation.note(name, before, candidates)
    if greedy:
        return int(candidates.ids[candidates.best])
    ranked = Ranking(candidates.logits, candidates.weights)
    token_id = int(candidates.ids[ranked.exceeding(uniform(draw.seed, draw.position) * candidates.total)])
    _learn(token_id, draw)
    return token_id


def _learn(token_id: int, draw: Draw) -> None:
    """Mirostat's feedback: the limit falls by eta times how much more surprising the token was than tau, in bits."""
    state, params = draw.state, draw.params
    if state.mirostat_candidates is None:
        return
    before = state.mirostat_candidates
    at = int(np.searchsorted(before.ids, token_id))
    surprise = float(before.surprises[at]) / math.log(2)
    state.mirostat_limit -= params.mirostat_eta * (surprise - params.mirostat_tau)
