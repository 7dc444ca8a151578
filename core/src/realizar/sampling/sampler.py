"""One token from one row of logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.errors import CorruptedLogits, RequestError
from realizar.sampling.candidates import Candidates
from realizar.sampling.chain import Draw, choose, needs_chain
from realizar.sampling.explanation import Explanation, SamplerStep
from realizar.sampling.params import SamplingParams
from realizar.sampling.penalties import TokenCounts, has_penalties, penalize
from realizar.sampling.philox import uniform
from realizar.sampling.processors import processed
from realizar.sampling.ranking import Ranking, top_k
from realizar.sampling.state import SamplerState

_FEW = 0.1
"""Share of a vocabulary below which it pays to copy the tokens that are left."""


@attrs.frozen
class SampledToken:
    """A chosen token and, if asked for, natural log probabilities.

    logprob and top_logprobs are of the model's own distribution: the log-softmax of the logits as they came,
    before bias, penalties, temperature and filters. top_logprobs: (id, logprob), most probable first.
    explanation: what each step did to the candidates, if that was asked for.
    """

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    explanation: tuple[SamplerStep, ...] = ()


def sample(
    logits: NDArray[np.float32],
    params: SamplingParams,
    counts: TokenCounts,
    *,
    position: int,
    seed: int,
    eos_token_ids: Sequence[int] = (),
    allowed: NDArray[np.bool_] | None = None,
    state: SamplerState | None = None,
) -> SampledToken:
    """Choose the output token at `position` (0 is the first generated) from `logits`, float32 [V], left unchanged.

    allowed: whether each token may come at all; ids beyond its end may not. state: what samplers remember of the
    sequence; needed by those that do.
    Order: processors, logit_bias, penalties, ban of end tokens below min_tokens and of what is not allowed, then
    greedy or `params.samplers`, draw. Each filter sees the distribution that the one before left, renormalized.
    The draw inverts the cumulative distribution in rank order (higher logit first, equal ones by lower id) at
    `uniform(seed, position)`, so nothing but this row, these parameters and the seed decides. Greedy takes the lowest
    id of equals.
    Raises CorruptedLogits if the logits are NaN, infinite or all minus infinity, RequestError if the request's own bias
    and bans leave no token.
    """
    state = state or SamplerState(mirostat_limit=2 * params.mirostat_tau)
    explanation = Explanation() if params.explain else None
    banned = [*eos_token_ids, *params.stop_token_ids] if position < params.min_tokens else []
    adjusted = _adjust(logits, params, counts, banned, allowed, state, explanation)
    best = int(adjusted.argmax())
    if not math.isfinite(adjusted[best]):
        raise _not_finite(logits, adjusted)
    if needs_chain(params):
        token_id = choose(adjusted, Draw(params, state, position, seed), explanation)
    else:
        draw = _draw if allowed is None else _draw_allowed
        token_id = best if params.temperature == 0 else draw(adjusted, best, params, uniform(seed, position))
    steps = () if explanation is None else tuple(explanation.steps)
    if params.logprobs is None:
        return SampledToken(token_id, explanation=steps)
    return attrs.evolve(_with_logprobs(logits, token_id, params.logprobs), explanation=steps)


def _adjust(
    logits: NDArray[np.float32],
    params: SamplingParams,
    counts: TokenCounts,
    banned: Sequence[int],
    allowed: NDArray[np.bool_] | None,
    state: SamplerState,
    explanation: Explanation | None,
) -> NDArray[np.float32]:
    """Logits after processors, bias, penalties and bans; the same array if there is nothing to change."""
    steps: list[tuple[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = [
        (name, partial(processed, name, processor, state.prompt_ids, state.output_ids))
        for name, processor in state.processors
    ]
    if params.logit_bias:
        steps.append(("logit_bias", partial(_biased, params.logit_bias)))
    if has_penalties(params):
        steps.append(("penalties", lambda row: _penalized(row, counts, params)))
    if banned:
        steps.append(("min_tokens", partial(_without, banned)))
    if allowed is not None:
        steps.append(("structured", partial(_masked, allowed)))
    for name, step in steps:
        before, logits = logits, step(logits)
        if explanation is not None and math.isfinite(before.max()) and math.isfinite(logits.max()):
            explanation.note(name, Candidates.of(before), Candidates.of(logits))
    return logits


def _biased(bias: Mapping[int, float], logits: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = logits.copy()
    for token_id, value in bias.items():
        if token_id >= logits.shape[0]:
            raise RequestError(f"logit_bias: found token id {token_id}, expected one below {logits.shape[0]}")
        logits[token_id] += np.float32(value)
    return logits


def _penalized(logits: NDArray[np.float32], counts: TokenCounts, params: SamplingParams) -> NDArray[np.float32]:
    logits = logits.copy()
    penalize(logits, counts, params)
    return logits


def _without(banned: Sequence[int], logits: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = logits.copy()
    logits[[token_id for token_id in banned if token_id < logits.shape[0]]] = -np.inf
    return logits


def _masked(allowed: NDArray[np.bool_], logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy in which what is not allowed is minus infinity; `allowed` may be longer or shorter than a row."""
    masked = np.full_like(logits, -np.inf)
    size = min(len(logits), len(allowed))
    np.copyto(masked[:size], logits[:size], where=allowed[:size])
    return masked


def _draw_allowed(logits: NDArray[np.float32], best: int, params: SamplingParams, u: float) -> int:
    """`_draw`, among few tokens where few are not banned: rank order and shares are the same."""
    ids = np.flatnonzero(logits > -np.inf)
    if len(ids) >= _FEW * len(logits):
        return _draw(logits, best, params, u)
    return int(ids[_draw(logits[ids], int(np.searchsorted(ids, best)), params, u)])


def _draw(logits: NDArray[np.float32], best: int, params: SamplingParams, u: float) -> int:
    """The id at which the filtered cumulative distribution first exceeds `u`.

    Source of min_p: Nguyen et al. 2024, arXiv:2407.01082.
    """
    highest = float(logits[best])
    candidates = _candidates(logits, highest, params)
    row = logits if candidates is None else logits[candidates]
    weights = _weights(row, highest, params.temperature)
    total = float(weights.sum())
    if params.min_p > 0:
        weights *= weights >= params.min_p  # of the heaviest, which weighs 1
    chosen = _invert(Ranking(row, weights), weights, total, params.top_p, u)
    return chosen if candidates is None else int(candidates[chosen])


def _candidates(logits: NDArray[np.float32], highest: float, params: SamplingParams) -> NDArray[np.int64] | None:
    """Ids outside of which nothing is drawn nor counts for top_p, by rank or in order; None: all, or nearly."""
    if params.top_k:
        return top_k(logits, params.top_k)
    if params.min_p > 0 and params.top_p == 1:
        slack = 1e-3 * (1 + abs(highest))  # far more than float32 rounds; the weights decide
        heavy = np.flatnonzero(logits >= highest + params.temperature * math.log(params.min_p) - slack)
        if len(heavy) < _FEW * len(logits):
            return heavy
    return None


def _weights(row: NDArray[np.float32], highest: float, temperature: float) -> NDArray[np.float64]:
    """exp of the logits over the temperature, as float64; the highest logit has weight 1.

    The maximum is taken off before the division, so that no temperature is small enough to overflow.
    """
    weights = np.subtract(row, highest, dtype=np.float64)
    if temperature != 1:
        weights /= temperature
    return np.exp(weights, out=weights)


def _invert(ranking: Ranking, weights: NDArray[np.float64], total: float, top_p: float, u: float) -> int:
    """The token at `u` of the shortest head that holds at least the share `top_p` of `total`.

    Source: Holtzman et al. 2020, arXiv:1904.09751, section 3.1.
    """
    if top_p == 1:
        return ranking.exceeding(u * float(weights.sum()))
    last, mass = ranking.reaching(top_p * total)
    return ranking.first(ranking.exceeding(u * mass), last)


def _with_logprobs(logits: NDArray[np.float32], token_id: int, num_alternatives: int) -> SampledToken:
    highest = float(logits.max())
    if not math.isfinite(highest):
        raise _not_finite(logits, logits)
    log_total = highest + math.log(float(_weights(logits, highest, 1).sum()))
    top = top_k(logits, num_alternatives).tolist() if num_alternatives else ()
    alternatives = tuple((i, float(logits[i]) - log_total) for i in top)
    return SampledToken(token_id, float(logits[token_id]) - log_total, alternatives)


def _not_finite(logits: NDArray[np.float32], adjusted: NDArray[np.float32]) -> Exception:
    """The error for a row without a finite maximum."""
    bad = np.flatnonzero(np.isnan(logits) | np.isposinf(logits))
    if bad.size:
        return CorruptedLogits(
            f"logits: found {logits[bad[0]]} at token id {bad[0]} ({bad.size} of {logits.size} are not finite), "
            f"expected numbers; the model file may be damaged or the backend wrong: try --backend numpy"
        )
    if np.isneginf(logits).all():
        return CorruptedLogits(f"logits: all {logits.size} are minus infinity, expected at least one number")
    worst = adjusted.max()
    return RequestError(
        f"logit_bias, penalties, banned end tokens and the structure of the output leave {worst} as the highest logit, "
        f"expected a number; weaken them or lower min_tokens"
    )
