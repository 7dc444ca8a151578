"""Starts a failed engine again, after a pause that grows from failure to failure."""

from __future__ import annotations

import asyncio
import logging
import time

from realizar.engine import LLM
from realizar_aiohttp.resilience.counters import Counters

log = logging.getLogger("realizar.server")

LONGEST_S = 30.0
"""The longest pause."""

SOUND_S = 60.0
"""After so many seconds without failing, the next pause is the first again."""


class Reviver:
    """Of one engine. delay_s: the first pause."""

    def __init__(self, model_id: str, delay_s: float, counters: Counters) -> None:
        self._id, self._first_s, self._counters = model_id, delay_s, counters
        self._delay_s, self._revived_s = delay_s, 0.0
        self._task: asyncio.Task[None] | None = None

    def watch(self, llm: LLM) -> None:
        """Begin if it has failed and nothing has begun yet."""
        if llm.failed and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._revive(llm))

    async def _revive(self, llm: LLM) -> None:
        if time.monotonic() - self._revived_s > SOUND_S:
            self._delay_s = self._first_s
        log.error("model %s: the engine has failed and is started again in %.3g s", self._id, self._delay_s)
        await asyncio.sleep(self._delay_s)
        await asyncio.to_thread(llm.restart)
        self._delay_s, self._revived_s = min(LONGEST_S, 2 * self._delay_s), time.monotonic()
        self._counters.restarts.labels(self._id).inc()
