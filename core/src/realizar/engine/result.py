"""What a generation returns."""

from __future__ import annotations

import attrs


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
    string) or "length". logprobs: one per token if they were asked for.
    """

    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str
    finish_reason: str
    logprobs: tuple[TokenLogprob, ...] | None
    timings: Timings


@attrs.frozen
class Piece:
    """One step of a stream: text that became certain, the token that brought it; the last one has the completion."""

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    completion: Completion | None = None


@attrs.frozen
class EngineStats:
    """What an engine holds at a moment. max_running: sequences of a step; blocks: of its KV cache."""

    max_running: int
    num_running: int
    num_waiting: int
    num_blocks: int
    num_free_blocks: int
