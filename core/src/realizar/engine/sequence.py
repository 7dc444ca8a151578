"""One sequence on its way through the engine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.engine.prefix_cache import PrefixReport
from realizar.engine.request_trace import RequestTrace

Logits = NDArray[np.float32]

PRIORITY_S = 10.0
"""What one step of priority is worth, in seconds of waiting."""

_serials = itertools.count()


@attrs.define(eq=False)
class Sequence:
    """Tokens, how many of them are computed, and the cache blocks that hold them.

    on_logits: called with float32 logits for each wanted position, as [rows, V]; returns the next token id, or
    None when the sequence is done. on_error: called once instead, if the step fails.
    every_position: logits are wanted for every token instead of only the last.
    in_one_step: its tokens are computed together, never in chunks; each sees all, so no block is of use to others.
    max_total_tokens: what the cache must hold at most.
    priority: higher ones go first; each step counts like PRIORITY_S seconds of waiting, so nobody waits forever.
    deadline_s: on the clock of `time.perf_counter`; a sequence that is not done by then gets DeadlineExceeded.
    request_id: the same for sequences of one request, which share blocks even where the prefix cache is off.
    num_computed: how many tokens have keys and values in the cache. num_given: for how many, from the first, logits
    need not be given (again). block_keys: what `prefix_cache.block_key` makes of each full block, as far as needed.
    """

    token_ids: list[int]
    max_total_tokens: int
    on_logits: Callable[[Logits], int | None]
    on_error: Callable[[BaseException], None]
    every_position: bool = False
    in_one_step: bool = False
    num_prompt_tokens: int = 0
    num_computed: int = 0
    block_table: list[int] = attrs.field(factory=list)
    cancelled: bool = False
    arrival_s: float = attrs.field(factory=time.perf_counter)
    scheduled_s: float | None = None
    priority: int = 0
    deadline_s: float | None = None
    request_id: int = attrs.field(factory=lambda: next(_serials))
    num_given: int = 0
    num_preemptions: int = 0
    block_keys: list[bytes] = attrs.field(factory=list)
    num_published: int = 0
    drafts: list[int] = attrs.field(factory=list)
    """Guesses of what follows `token_ids`, of which the next step computes some."""
    trace: RequestTrace | None = None
    """Where its steps are noted, if they are."""
    prefix: PrefixReport | None = None
    """What the prefix cache had for it when it was first admitted."""
    rank: tuple[float, int] = (0.0, 0)
    """Its place in the order in which sequences are served, lowest first; never changes."""

    def __attrs_post_init__(self) -> None:
        self.num_prompt_tokens = len(self.token_ids)
        self.rank = (self.arrival_s - self.priority * PRIORITY_S, next(_serials))

    def mark_scheduled(self) -> None:
        """Note when the first step began."""
        if self.scheduled_s is None:
            self.scheduled_s = time.perf_counter()

    @property
    def num_pending(self) -> int:
        """Tokens that are known but not yet computed."""
        return len(self.token_ids) - self.num_computed


@attrs.frozen
class Chunk:
    """The next `count` tokens of a sequence, computed in one step.

    num_rows: for how many of them, the last ones, logits are wanted. completes: nothing is pending afterwards.
    num_drafts: how many of them, the last ones, are guesses, `Sequence.drafts`.
    """

    sequence: Sequence
    count: int
    num_rows: int
    completes: bool
    num_drafts: int = 0

    @property
    def token_ids(self) -> list[int]:
        """Its tokens."""
        start = self.sequence.num_computed
        ids = self.sequence.token_ids[start : start + self.count]
        return [*ids, *self.sequence.drafts] if self.num_drafts else ids

    @classmethod
    def next(cls, sequence: Sequence, count: int, num_drafts: int = 0) -> Chunk:
        """The chunk of that many pending tokens, as the sequence stands now; with guesses after the last of them."""
        completes = count == sequence.num_pending
        if num_drafts:
            return cls(sequence, count + num_drafts, 1 + num_drafts, completes, num_drafts)
        if not sequence.every_position:
            return cls(sequence, count, int(completes), completes)
        known = max(0, sequence.num_given - sequence.num_computed)
        return cls(sequence, count, max(0, count - known), completes)
