"""The way of a model's requests to an engine: its own, or what stands in for it while that one fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import attrs

from realizar.engine import LLM
from realizar.errors import DeadlineExceeded, EngineStalled, RealizarError
from realizar.limits import Limits
from realizar.model_pool import ModelPool, ServedModel
from realizar_aiohttp.resilience.breaker import Breaker
from realizar_aiohttp.resilience.bulkhead import Bulkhead
from realizar_aiohttp.resilience.context import current
from realizar_aiohttp.resilience.counters import Counters
from realizar_aiohttp.resilience.degradation import Degradation

T = TypeVar("T")

log = logging.getLogger("realizar.server")

BACKEND = "X-Realizar-Backend"
"""The header that says which backend stood in."""

GRACE_S = 0.25
"""After a deadline, the time in which the engine says so itself; then it is taken for busy."""

_STATES = {"closed": 0, "half-open": 1, "open": 2}


@attrs.define(eq=False)
class Seat:
    """One request's place at an engine.

    until_s: when it must be done, on the clock of `time.monotonic`. waits: for the engine, at this moment.
    stalled_s: how long the step has taken that is taken for a failure.
    """

    llm: LLM
    until_s: float | None
    stalled_s: float | None = None
    waits: set[asyncio.Timeout] = attrs.field(factory=set)

    async def within(self, awaitable: Awaitable[T]) -> T:
        """What the engine gives, if it does in time; raises DeadlineExceeded, EngineStalled."""
        scope = asyncio.timeout(None if self.until_s is None else self.until_s - time.monotonic() + GRACE_S)
        try:
            async with scope:
                self.waits.add(scope)
                try:
                    return await awaitable
                finally:
                    self.waits.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
        if self.stalled_s is not None:
            raise EngineStalled(f"the engine has been busy with one step for {self.stalled_s:.3g} s")
        raise DeadlineExceeded(current().allowed_s or 0.0, 0)

    def stall(self, seconds: float) -> None:
        """Let go whoever waits for the engine."""
        self.stalled_s = seconds
        for scope in tuple(self.waits):
            scope.reschedule(asyncio.get_running_loop().time())


class Lane:
    """A model's breaker and bulkheads, and its fallback."""

    def __init__(
        self, model_id: str, pool: ModelPool, limits: Limits, counters: Counters, degradation: Degradation
    ) -> None:
        self.id, self._pool, self._counters, self._degradation = model_id, pool, counters, degradation
        self.breaker = Breaker(limits.breaker_failures, limits.breaker_window_s, limits.breaker_open_s)
        self.bulkheads = {
            "generation": Bulkhead("generation", limits.max_generations, counters),
            "scoring": Bulkhead("scoring", limits.max_scorings, counters),
        }
        self.fallback: LLM | None = None
        self.is_stalled = False
        self._seats: set[Seat] = set()
        counters.breaker.labels(model_id).set_function(lambda: _STATES[self.breaker.state])

    @contextlib.asynccontextmanager
    async def seat(self, model: ServedModel, kind: str) -> AsyncIterator[Seat]:
        """A place for a request of that kind; raises Problem: 429 if all are taken, 503 while nothing can answer."""
        self._degradation.prove_open()
        with self.bulkheads[kind].place():
            attempt = self.breaker.enter()
            if attempt is None:
                yield Seat(await self._stand_in(), current().until_s)
                return
            seat, error = Seat(model.llm, current().until_s), None
            self._seats.add(seat)
            try:
                yield seat
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._seats.discard(seat)
                if self.breaker.leave(attempt, error):
                    self._counters.opened.labels(self.id).inc()
                    log.error("model %s is left alone: %s: %s", self.id, type(error).__name__, error)
                if error is not None and isinstance(error.__cause__ or error, MemoryError):
                    self._degradation.press(f"a step of model {self.id} ran out of memory", error)

    def watch(self, llm: LLM, stall_s: float) -> None:
        """Notice a step that does not end, and let go whoever waits for it."""
        seconds = llm.stats.current_step_s
        was_stalled, self.is_stalled = self.is_stalled, seconds > stall_s
        if not self.is_stalled:
            return
        if not was_stalled:
            self._counters.stalls.labels(self.id).inc()
            log.error("model %s: a step has taken %.3g s and has not ended", self.id, seconds)
        for seat in tuple(self._seats):
            seat.stall(seconds)

    def state(self) -> dict[str, Any]:
        """For people: the breaker, the places that are taken, what stands in."""
        return {
            "id": self.id, "breaker": self.breaker.state, "retry_after_s": round(self.breaker.retry_after_s, 3),
            "stalled": self.is_stalled, "has_fallback": self._pool.has_fallback(self.id),
            "fallback": None if self.fallback is None else self.fallback.backend_name,
            "open": {kind: {"open": b.open, "limit": b.limit} for kind, b in self.bulkheads.items()},
        }  # fmt: skip

    async def _stand_in(self) -> LLM:
        """The fallback, said in the response; raises Problem if there is none."""
        message = f"model {self.id!r} fails, and is left alone for a while"
        if not self._pool.has_fallback(self.id):
            raise self._counters.refusal("model_failing", message, self.breaker.retry_after_s, status=503)
        try:
            self.fallback = await asyncio.to_thread(self._pool.load_fallback, self.id)
        except RealizarError as error:
            log.error("model %s: what would stand in cannot be loaded: %s", self.id, error)
            raise self._counters.refusal("model_failing", message, self.breaker.retry_after_s, status=503) from None
        self._counters.fallbacks.labels(self.id).inc()
        current().headers[BACKEND] = f"{self.fallback.backend_name}; fallback"
        return self.fallback
