"""What a generation returns."""

from __future__ import annotations

import attrs

from realizar.engine.prefix_cache import PrefixReport
from realizar.engine.request_trace import MeasuredTrace
from realizar.sampling import SamplerStep


@attrs.frozen
class TokenLogprob:
    """Natural-log probability of a chosen token, and of the likeliest alternatives, best first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@attrs.frozen
class Timings:
    """Seconds, measured. ttft_s: from submission to the first token, waiting included."""

    load_s: float
    prompt_tokens: int
    prefill_s: float
    decode_s: float
    ttft_s: float


@attrs.frozen
class Completion:
    """A finished generation.

    token_ids: includes the end token; text does not. finish_reason: "stop" (an end token, a stop id or a stop
    string) or "length". logprobs: one per token if they were asked for. index: which choice of a request for several.
    prefix: what the prefix cache had of the prompt, and why no more. trace: times of its steps, if they were asked for.
    """

    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str
    finish_reason: str
    logprobs: tuple[TokenLogprob, ...] | None
    timings: Timings
    index: int = 0
    prefix: PrefixReport | None = None
    trace: MeasuredTrace | None = None

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that were not computed, for the prefix cache had them."""
        return 0 if self.prefix is None else self.prefix.cached_tokens


@attrs.frozen
class Piece:
    """One step of a stream: text that became certain, the token that brought it; the last one has the completion.

    index: which choice of a request for several; each has a last piece of its own.
    explanation: what each sampler did to the candidates, if `explain` asked for it.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    completion: Completion | None = None
    index: int = 0
    explanation: tuple[SamplerStep, ...] = ()
