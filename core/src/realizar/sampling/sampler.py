"""One token from one row of logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.errors import CorruptedLogits, RequestError
from realizar.sampling.params import SamplingParams
from realizar.sampling.penalties import TokenCounts, has_penalties, penalize
from realizar.sampling.philox import uniform
from realizar.sampling.ranking import Ranking, top_k

_FEW = 0.1
"""Share of a vocabulary below which it pays to copy the tokens that are left."""


@attrs.frozen
class SampledToken:
    """A chosen token and, if asked for, natural log probabilities.

    logprob and top_logprobs are of the model's own distribution: the log-softmax of the logits as they came,
    before bias, penalties, temperature and filters. top_logprobs: (id, logprob), most probable first.
    """

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


def sample(
    logits: NDArray[np.float32],
    params: SamplingParams,
    counts: TokenCounts,
    *,
    position: int,
    seed: int,
    eos_token_ids: Sequence[int] = (),
) -> SampledToken:
    """Choose the output token at `position` (0 is the first generated) from `logits`, float32 [V], left unchanged.

    Order: logit_bias, penalties, ban of end tokens below min_tokens, then greedy or temperature, top_k, top_p, min_p,
    draw. Each filter sees the distribution that the one before left, renormalized. The draw inverts the cumulative
    distribution in rank order (higher logit first, equal ones by lower id) at `uniform(seed, position)`, so nothing
    but this row, these parameters and the seed decides. Greedy takes the lowest id of equals.
    Raises CorruptedLogits if the logits are NaN, infinite or all minus infinity, RequestError if the request's own bias
    and bans leave no token.
    """
    adjusted = _adjust(logits, params, counts, position, eos_token_ids)
    best = int(adjusted.argmax())
    if not math.isfinite(adjusted[best]):
        raise _not_finite(logits, adjusted)
    token_id = best if params.temperature == 0 else _draw(adjusted, best, params, uniform(seed, position))
    if params.logprobs is None:
        return SampledToken(token_id)
    return _with_logprobs(logits, token_id, params.logprobs)


def _adjust(
    logits: NDArray[np.float32],
    params: SamplingParams,
    counts: TokenCounts,
    position: int,
    eos_token_ids: Sequence[int],
) -> NDArray[np.float32]:
    """Logits after bias, penalties and bans; the same array if there is nothing to change."""
    banned = [*eos_token_ids, *params.stop_token_ids] if position < params.min_tokens else []
    if not (params.logit_bias or banned or has_penalties(params)):
        return logits
    logits = logits.copy()
    for token_id, bias in params.logit_bias.items():
        if token_id >= logits.shape[0]:
            raise RequestError(f"logit_bias: found token id {token_id}, expected one below {logits.shape[0]}")
        logits[token_id] += np.float32(bias)
    if has_penalties(params):
        penalize(logits, counts, params)
    logits[[token_id for token_id in banned if token_id < logits.shape[0]]] = -np.inf
    return logits


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
        f"logit_bias, penalties and banned end tokens leave {worst} as the highest logit, expected a number; "
        f"weaken them or lower min_tokens"
    )
