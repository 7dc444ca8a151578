"""What all requests of one server share."""

from __future__ import annotations

import asyncio
import logging

import attrs
from aiohttp import web

from realizar.model_pool import ModelPool
from realizar.servers import ServerConfig
from realizar_aiohttp.metrics import Metrics
from realizar_aiohttp.resilience import Resilience

log = logging.getLogger("realizar.server")


@attrs.define(eq=False)
class Service:
    """Models, configuration, metrics, and which requests are open."""

    pool: ModelPool
    config: ServerConfig
    metrics: Metrics
    draining: bool = False
    num_open: int = 0
    _idle: asyncio.Event = attrs.field(factory=asyncio.Event)
    resilience: Resilience = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.resilience = Resilience(self.pool, self.config.limits, self.metrics.registry)

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


SERVICE = web.AppKey("service", Service)
