"""Doing less while memory is short, one step after another, rather than falling over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from realizar.engine import LLM
from realizar.host_memory import available_memory
from realizar.limits import Limits
from realizar.model_pool import ModelPool
from realizar_aiohttp.resilience.counters import Counters

log = logging.getLogger("realizar.server")

STEPS = ("prefix_cache", "queue", "refuse")
"""What is given up, in order: what prompts share; most of the places to wait; all new work."""

QUEUE_SHARE, QUEUE_LEAST = 4, 8
"""Of the places to wait, one in so many is left, but no fewer than that unless there were fewer."""

LOOK_S = 1.0
"""Seconds between two looks at the memory that is left."""


class Degradation:
    """level: how many of STEPS hold now. memory: bytes that are left to the process, None if that is not known."""

    def __init__(
        self, pool: ModelPool, limits: Limits, counters: Counters,
        memory: Callable[[], int | None] = available_memory, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._pool, self._limits, self._counters, self._memory, self._clock = pool, limits, counters, memory, clock
        self.level = 0
        self._cause: BaseException | None = None
        self._changed_s = self._looked_s = clock()
        self._own: WeakKeyDictionary[LLM, tuple[bool, int | None]] = WeakKeyDictionary()

    def look(self) -> None:
        """Look at the memory, now and then; a step up if too little is left, one down if it has been calm."""
        now = self._clock()
        if now - self._looked_s >= LOOK_S:
            self._looked_s, left = now, self._memory()
            if left is not None and left < self._limits.min_memory_nbytes:
                self.press(f"{left >> 20} MiB are left to this process")
        if self.level and now - self._changed_s >= self._limits.calm_s:
            self._move(-1, f"memory was enough for {self._limits.calm_s:g} s")

    def press(self, why: str, cause: BaseException | None = None) -> None:
        """A step up; a cause that ends many requests counts once."""
        if cause is not None and cause is self._cause:
            return
        self._cause = cause
        if self.level == len(STEPS):
            self._changed_s = self._clock()
            return
        self._counters.degradations.labels(STEPS[self.level]).inc()
        self._move(1, why)

    def state(self) -> dict[str, Any]:
        """For people."""
        return {"level": self.level, "given_up": list(STEPS[: self.level])}

    def prove_open(self) -> None:
        """Raise Problem (503) if no new work is taken."""
        if self.level == len(STEPS):
            left_s = self._changed_s + self._limits.calm_s - self._clock()
            raise self._counters.refusal("memory", "this server is short of memory", left_s, status=503)

    def _move(self, by: int, why: str) -> None:
        self.level += by
        self._changed_s = self._clock()
        self._counters.level.set(self.level)
        log.warning("%s; given up now: %s", why, ", ".join(STEPS[: self.level]) or "nothing")
        for model in self._pool.loaded:
            self._apply(model.llm)

    def _apply(self, llm: LLM) -> None:
        prefix_cache, queue = self._own.setdefault(llm, (llm.prefix_cache, llm.max_waiting))
        llm.prefix_cache = prefix_cache and self.level < 1
        less = QUEUE_LEAST if queue is None else min(queue, max(QUEUE_LEAST, queue // QUEUE_SHARE))
        llm.max_waiting = less if self.level >= 2 else queue
