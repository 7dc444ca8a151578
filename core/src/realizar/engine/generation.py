"""One generation request: from logits to tokens to text, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from realizar.engine.request_trace import MeasuredTrace, RequestTrace
from realizar.engine.result import Completion, Piece, Timings, TokenLogprob
from realizar.engine.sequence import Sequence as EngineSequence
from realizar.engine.service import ANY_TIME, Service, choice_seed
from realizar.sampling import SampledToken, SamplerState, SamplingParams, StopMatcher, TokenCounts, sample
from realizar.structured.byte_stream import ByteStream
from realizar.tokenizers import Tokenizer

if TYPE_CHECKING:
    from realizar.structured.matcher import Matcher

Emit = Callable[[Piece | BaseException], None]
"""Receives each piece, the last with the completion, or an error and then nothing more."""


class Generation:
    """Samples, decodes and stops one sequence; its methods run on the engine's thread.

    max_total_tokens: prompt and output together; reaching it ends the generation with "length".
    index: which choice of a request for several.
    """

    def __init__(
        self, prompt_ids: Sequence[int], params: SamplingParams, tokenizer: Tokenizer, max_total_tokens: int,
        load_s: float, emit: Emit, *, service: Service = ANY_TIME, index: int = 0,
    ) -> None:  # fmt: skip
        self._prompt_ids = tuple(prompt_ids)
        self._params = params
        self._load_s = load_s
        self._emit = emit
        self._eos_token_ids = tokenizer.spec.eos_token_ids
        self._index = index
        self._seed = choice_seed(params.seed, index)
        self._counts = TokenCounts(prompt_ids)
        self._state = SamplerState.start(params, prompt_ids, tokenizer)
        self._structure = _structure(params, tokenizer)
        skip = params.skip_special_tokens
        self._decoder = tokenizer.stream(skip_special_tokens=skip) if self._structure is None else ByteStream(tokenizer)
        self._stops = StopMatcher(params.stop)
        self._max_tokens = max_total_tokens - len(prompt_ids)
        self._token_ids: list[int] = []
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._first_token_s = 0.0
        now = time.perf_counter()
        self.sequence = EngineSequence(
            list(prompt_ids), max_total_tokens, self._on_logits, emit, arrival_s=now, priority=service.priority,
            deadline_s=None if service.deadline_s is None else now + service.deadline_s,
            trace=None if service.trace is None else RequestTrace(service.trace),
        )  # fmt: skip

    def _on_logits(self, logits: NDArray[np.float32]) -> int | None:
        """Choose the next token from the last row; None when it was the last one."""
        sampled = sample(
            logits[-1], self._params, self._counts,
            position=len(self._token_ids), seed=self._seed, eos_token_ids=self._eos_token_ids,
            allowed=None if self._structure is None else self._structure.allowed(), state=self._state,
        )  # fmt: skip
        token_id = sampled.token_id
        if not self._token_ids:
            self._first_token_s = time.perf_counter()
        self._token_ids.append(token_id)
        self._counts.append(token_id)
        self._state.append(token_id)
        if self._structure is not None:
            self._structure.accept(token_id)
        logprobs = self._logprob(sampled)
        text, finish_reason = self._advance(token_id)
        self._text.append(text)
        if finish_reason is None:
            self._emit(Piece(text, (token_id,), logprobs, index=self._index, explanation=sampled.explanation))
            return token_id
        done = self._completion(finish_reason)
        self._emit(Piece(text, (token_id,), logprobs, done, self._index, sampled.explanation))
        return None

    def _logprob(self, sampled: SampledToken) -> tuple[TokenLogprob, ...] | None:
        if sampled.logprob is None:
            return None
        logprob = TokenLogprob(sampled.token_id, sampled.logprob, tuple(sampled.top_logprobs))
        self._logprobs.append(logprob)
        return (logprob,)

    def _advance(self, token_id: int) -> tuple[str, str | None]:
        """The text that this token adds, and why the generation ends with it, if it does."""
        ends = token_id in self._eos_token_ids and not self._params.ignore_eos
        if ends or token_id in self._params.stop_token_ids:
            return self._rest(""), "stop"
        text, matched = self._stops.push(self._decoder.push(token_id))
        if matched is not None:
            return text, "stop"
        if self._structure is not None and self._structure.ended:
            return self._rest(text), "stop"
        if len(self._token_ids) >= self._max_tokens:
            return self._rest(text), "length"
        return text, None

    def _rest(self, text: str) -> str:
        """`text` and everything still held back."""
        pushed, matched = self._stops.push(self._decoder.finish())
        return text + pushed + ("" if matched is not None else self._stops.finish())

    def _completion(self, finish_reason: str) -> Completion:
        sequence, now = self.sequence, time.perf_counter()
        started = sequence.scheduled_s or sequence.arrival_s
        timings = Timings(
            load_s=self._load_s,
            prompt_tokens=len(self._prompt_ids),
            prefill_s=self._first_token_s - started,
            decode_s=now - self._first_token_s,
            ttft_s=self._first_token_s - sequence.arrival_s,
        )
        logprobs = tuple(self._logprobs) if self._params.logprobs is not None else None
        return Completion(
            self._prompt_ids, tuple(self._token_ids), "".join(self._text), finish_reason, logprobs, timings,
            self._index, sequence.prefix,
            self._trace(now, started),
        )  # fmt: skip

    def _trace(self, now: float, started: float) -> MeasuredTrace | None:
        """What was measured of its steps, if that was asked for."""
        sequence = self.sequence
        if sequence.trace is None:
            return None
        return sequence.trace.finish(now - sequence.arrival_s, started - sequence.arrival_s)


def _structure(params: SamplingParams, tokenizer: Tokenizer) -> Matcher | None:
    """The matcher of a request that has a structure; only then is its library loaded."""
    if params.structured is None:
        return None
    from realizar.structured.matcher import start

    return start(params.structured, tokenizer)
