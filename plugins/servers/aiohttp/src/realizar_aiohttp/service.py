"""What all requests of one server share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import attrs
from aiohttp import web

from realizar.model_pool import ModelPool
from realizar.servers import ServerConfig
from realizar_aiohttp.metrics import Metrics

T = TypeVar("T")

log = logging.getLogger("realizar.server")

MAX_WAITING = 8
"""Threads that wait for the engine (embeddings, logits); more of such requests queue."""


@attrs.define(eq=False)
class Service:
    """Models, configuration, metrics, and which requests are open."""

    pool: ModelPool
    config: ServerConfig
    metrics: Metrics
    draining: bool = False
    num_open: int = 0
    _idle: asyncio.Event = attrs.field(factory=asyncio.Event)
    _waiters: ThreadPoolExecutor = attrs.field(
        factory=lambda: ThreadPoolExecutor(MAX_WAITING, thread_name_prefix="realizar-wait")
    )

    def enter(self) -> None:
        """Count a request that begins."""
        self.num_open += 1
        self._idle.clear()

    def leave(self) -> None:
        """Count a request that has ended."""
        self.num_open -= 1
        if self.num_open == 0:
            self._idle.set()

    async def drain(self, timeout_s: float) -> None:
        """Take no new requests and wait for the open ones, but no longer than that."""
        self.draining = True
        if not self.num_open:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("%d requests were still open after %g s and are ended", self.num_open, timeout_s)

    async def waiting(self, function: Callable[[], T]) -> T:
        """Call what blocks until the engine has answered, in a thread of those set apart for it."""
        return await asyncio.get_running_loop().run_in_executor(self._waiters, function)


SERVICE = web.AppKey("service", Service)
