"""What the samplers of one sequence remember from token to token."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from realizar.sampling.candidates import Candidates
from realizar.sampling.dry import History
from realizar.sampling.params import SamplingParams
from realizar.sampling.processors import LogitsProcessor, started
from realizar.tokenizers import Tokenizer


@attrs.define
class SamplerState:
    """mirostat_limit: the surprise in bits that is still allowed, at first twice the target (Basu et al. 2021).

    prompt_ids, output_ids: what processors are told. history: what DRY looks for repeats in, None without it.
    """

    prompt_ids: Sequence[int] = ()
    output_ids: list[int] = attrs.field(factory=list)
    processors: tuple[tuple[str, LogitsProcessor], ...] = ()
    history: History | None = None
    mirostat_limit: float = 0.0
    mirostat_candidates: Candidates | None = None

    @classmethod
    def start(cls, params: SamplingParams, prompt_ids: Sequence[int], tokenizer: Tokenizer) -> SamplerState:
        """The state before the first token; raises RequestError or PluginError for a processor that there is not."""
        processors = started(params.logits_processors, prompt_ids, tokenizer)
        history = _history(params, prompt_ids, tokenizer) if params.dry_multiplier > 0 else None
        return cls(prompt_ids, [], processors, history, 2 * params.mirostat_tau)

    def append(self, token_id: int) -> None:
        """One more output token."""
        self.output_ids.append(token_id)
        if self.history is not None:
            self.history.append(token_id)


def _history(params: SamplingParams, prompt_ids: Sequence[int], tokenizer: Tokenizer) -> History:
    breakers = [breaker.encode() for breaker in params.dry_sequence_breakers]

    def is_breaker(token_id: int) -> bool:
        spelled = tokenizer.token_bytes(token_id) if token_id < len(tokenizer.spec.tokens) else b""
        return any(breaker in spelled for breaker in breakers)

    return History(prompt_ids, params.dry_penalty_last_n, is_breaker)
