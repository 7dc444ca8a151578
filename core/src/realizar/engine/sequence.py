"""One sequence on its way through the engine."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


@attrs.define(eq=False)
class Sequence:
    """Tokens, how many of them are computed, and the cache blocks that hold them.

    on_logits: called with float32 logits for each wanted position, as [rows, V]; returns the next token id, or
    None when the sequence is done. on_error: called once instead, if the step fails.
    every_position: logits are wanted for every token instead of only the last.
    in_one_step: its tokens are computed together, never in chunks.
    max_total_tokens: what the cache must hold at most; blocks are reserved for it at admission.
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

    def __attrs_post_init__(self) -> None:
        self.num_prompt_tokens = len(self.token_ids)

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
    """

    sequence: Sequence
    count: int
    num_rows: int
    completes: bool

    @classmethod
    def next(cls, sequence: Sequence, count: int) -> Chunk:
        """The chunk of that many pending tokens, as the sequence stands now."""
        completes = count == sequence.num_pending
        return cls(sequence, count, count if sequence.every_position else int(completes), completes)
