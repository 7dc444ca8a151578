"""What an engine is doing, in numbers, for metrics and for people."""

from __future__ import annotations

import attrs


@attrs.frozen
class EngineStats:
    """One moment of an engine; counts without "now" in their meaning only grow.

    running, waiting: sequences, now. blocks_used, blocks_free: of blocks_total, now, of block_size tokens each;
    blocks_cached: those of the free ones whose content can be used again, now. prefix_queries, prefix_hits: tokens of
    admitted prompts, and those of them that the prefix cache had. computed_tokens: that went through the model, those
    computed again included. generated_tokens: that were chosen. drafted_tokens, accepted_tokens: guesses that were
    computed, and those of them that were right. step_tokens, step_s: of the last step. busy_s: of all steps.
    current_step_s: for how long the step in flight has run, 0 between steps. retried: steps that were tried again.
    corrupted: sequences that ended by logits that were no numbers.
    """

    running: int
    waiting: int
    blocks_total: int
    blocks_used: int
    blocks_free: int
    blocks_cached: int
    preemptions: int
    prefix_queries: int
    prefix_hits: int
    drafted_tokens: int
    steps: int
    computed_tokens: int
    generated_tokens: int
    accepted_tokens: int
    finished: int
    failed: int
    cancelled: int
    step_tokens: int
    step_s: float
    busy_s: float
    retried: int
    corrupted: int
    current_step_s: float
    block_size: int


@attrs.define
class Counters:
    """What only an engine's own thread counts."""

    steps: int = 0
    computed_tokens: int = 0
    generated_tokens: int = 0
    accepted_tokens: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    step_tokens: int = 0
    step_s: float = 0.0
    busy_s: float = 0.0
    retried: int = 0
    corrupted: int = 0


@attrs.frozen
class SequenceState:
    """One sequence at a moment. id: of its request. tokens: known, of which `computed` are in the cache.

    max_tokens: how many it may grow to. waiting: whether it has no blocks yet, or lost them.
    """

    id: int
    tokens: int
    computed: int
    max_tokens: int
    priority: int
    waiting: bool
