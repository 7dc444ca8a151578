"""Everything of this kind that one server has, and the ways through it for each kind of work."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import attrs
from prometheus_client import CollectorRegistry

from realizar.engine import LLM, Piece
from realizar.engine.prompt import Prompt
from realizar.engine.request_trace import TraceLevel
from realizar.errors import DeadlineExceeded
from realizar.limits import Limits
from realizar.model_pool import ModelPool, ServedModel
from realizar.sampling import SamplingParams
from realizar_aiohttp.resilience.admission import Admission, Cost
from realizar_aiohttp.resilience.bulkhead import Bulkhead
from realizar_aiohttp.resilience.context import current
from realizar_aiohttp.resilience.counters import Counters
from realizar_aiohttp.resilience.degradation import Degradation
from realizar_aiohttp.resilience.keys import KeyLedger
from realizar_aiohttp.resilience.lane import Lane, Seat
from realizar_aiohttp.resilience.reviver import Reviver

T = TypeVar("T")

log = logging.getLogger("realizar.server")

SCORERS, TOKENIZERS = 8, 2
"""Threads that wait for embeddings and scores, and that tokenize; each kind has its own."""

TICK_S = 0.05
"""Seconds between two looks at the engines."""


@attrs.frozen
class Job:
    """A prompt to be answered. chat: further arguments of `LLM.astream`."""

    prompt: Prompt
    params: SamplingParams
    chat: Mapping[str, Any] = attrs.field(factory=dict)
    cost: Cost = Cost(0, 0)


class Resilience:
    """Lanes by model, accounts by key, and what watches over the engines."""

    def __init__(self, pool: ModelPool, limits: Limits, registry: CollectorRegistry) -> None:
        self._pool, self._limits = pool, limits
        self.counters = Counters(registry)
        self.keys = KeyLedger(limits.key_concurrency, limits.key_tokens_per_minute, self.counters)
        self._admission = Admission(limits.max_wait_s, self.counters)
        self._degradation = Degradation(pool, limits, self.counters)
        self._tokenizations = Bulkhead("tokenization", limits.max_tokenizations, self.counters)
        self._lanes: dict[str, Lane] = {}
        self._revivers: WeakKeyDictionary[LLM, Reviver] = WeakKeyDictionary()
        self._scorers = ThreadPoolExecutor(SCORERS, thread_name_prefix="realizar-wait")
        self._tokenizers = ThreadPoolExecutor(TOKENIZERS, thread_name_prefix="realizar-tokenize")

    def lane(self, model_id: str) -> Lane:
        """The one of a model."""
        if model_id not in self._lanes:
            self._lanes[model_id] = Lane(model_id, self._pool, self._limits, self.counters, self._degradation)
        return self._lanes[model_id]

    async def generate(
        self, model: ServedModel, prompt: Prompt, params: SamplingParams, chat: Mapping[str, Any],
        trace: TraceLevel | None = None,
    ) -> AsyncGenerator[Piece, None]:  # fmt: skip
        """`LLM.astream`, if the server, the key and the time that is left allow it."""
        context, used = current(), 0
        async with self._seat(model, "generation") as seat:
            job = await self._admitted(seat.llm, Job(prompt, params, chat))
            self.keys.take(context.key, job.cost.tokens)
            try:
                left_s = context.left_s()
                stream = seat.llm.astream(job.prompt, params, deadline_s=left_s, trace=trace, **job.chat)
                async with contextlib.aclosing(_timed(stream, seat)) as pieces:
                    async for piece in pieces:
                        used = max(used, job.cost.prompt) + len(piece.token_ids)
                        yield piece
            finally:
                self.keys.settle(context.key, job.cost.tokens, used)

    async def score(self, model: ServedModel, function: Callable[[ServedModel], tuple[T, int]]) -> tuple[T, int]:
        """What the function returns, which blocks until an engine has answered; in a thread set apart for that.

        It returns how many tokens that took, too, which only it knows: the key is charged with them afterwards.
        """
        key = current().key
        async with self._seat(model, "scoring") as seat:
            self._admission.prove(seat.llm, Cost(0, 0), current().left_s())
            self.keys.take(key, 1)
            served = attrs.evolve(model, llm=seat.llm)
            call = contextvars.copy_context().run
            answer = asyncio.get_running_loop().run_in_executor(self._scorers, call, function, served)
            found = await seat.within(answer)
            self.keys.settle(key, 1, found[1])
            return found

    async def tokenize(self, function: Callable[[], T]) -> T:
        """What the function returns, which computes without an engine; in a thread set apart for that."""
        with self._tokenizations.place():
            return await asyncio.get_running_loop().run_in_executor(self._tokenizers, function)

    def why_unready(self, model: ServedModel) -> str | None:
        """What keeps a model from answering, if anything does."""
        if not model.llm.alive:
            return f"the engine of model {model.id!r} has failed"
        return f"the engine of model {model.id!r} has stalled" if self.lane(model.id).is_stalled else None

    def state(self) -> dict[str, Any]:
        """For people."""
        return {
            "limits": attrs.asdict(self._limits), "degradation": self._degradation.state(), "keys": self.keys.state(),
            "tokenization": {"open": self._tokenizations.open, "limit": self._tokenizations.limit},
            "lanes": [self.lane(name).state() for name in self._pool.ids],
            "wait_s": {model.id: round(self._admission.wait_s(model.llm), 3) for model in self._pool.loaded},
        }  # fmt: skip

    async def watch(self) -> None:
        """Restart what fails, notice what stalls, do less when memory is short; runs until it is cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self._look()
            except Exception:
                log.exception("a look at the engines failed; the next one follows")

    def _look(self) -> None:
        self._degradation.look()
        for model in self._pool.loaded:
            lane = self.lane(model.id)
            lane.watch(model.llm, self._limits.stall_s)
            for llm in (model.llm, lane.fallback):
                if llm is not None:
                    self._reviver(model.id, llm).watch(llm)

    def _reviver(self, model_id: str, llm: LLM) -> Reviver:
        if llm not in self._revivers:
            self._revivers[llm] = Reviver(model_id, self._limits.restart_delay_s, self.counters)
        return self._revivers[llm]

    async def _admitted(self, llm: LLM, job: Job) -> Job:
        """The job with its cost, and its prompt as ids, if there is anything that asks what it costs."""
        limits, left_s = self._limits, current().left_s()
        if limits.max_wait_s is limits.key_tokens_per_minute is left_s is None:
            return job
        ids = await asyncio.to_thread(lambda: llm.encode(job.prompt, **job.chat))
        if len(ids) >= llm.max_model_len:
            return Job(ids, job.params)  # the engine says what is wrong
        cost = self._admission.cost(llm, len(ids), job.params.max_tokens, job.params.n)
        self._admission.prove(llm, cost, left_s)
        return Job(ids, job.params, cost=cost)

    @contextlib.asynccontextmanager
    async def _seat(self, model: ServedModel, kind: str) -> AsyncIterator[Seat]:
        """A place in the model's lane; what is late is counted."""
        try:
            async with self.lane(model.id).seat(model, kind) as seat:
                yield seat
        except DeadlineExceeded:
            self.counters.late.labels(model.id).inc()
            raise


async def _timed(stream: AsyncGenerator[Piece, None], seat: Seat) -> AsyncGenerator[Piece, None]:
    """The pieces, none of which may come too late."""
    async with contextlib.aclosing(stream):
        while True:
            try:
                yield await seat.within(anext(stream))
            except StopAsyncIteration:
                return
