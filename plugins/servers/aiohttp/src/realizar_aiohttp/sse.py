"""Answers that go out while they are made: framing, signs of life, and errors in band."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
from aiohttp import web

from realizar_aiohttp.call import Call, to_json
from realizar_aiohttp.problem import Problem, problem_of
from realizar_aiohttp.service import log
from realizar_aiohttp.shapes import anthropic_error, ollama_error, openai_error
from realizar_aiohttp.tracing import TRACES


@attrs.frozen
class Framing:
    """How events are written. ping: what is sent while there is nothing to say; end: what follows the last event."""

    content_type: str
    event: Callable[[Any], bytes]
    problem: Callable[[Problem], Any]
    ping: bytes | None = b":\n\n"
    end: bytes = b""


def _data(value: Any) -> bytes:
    return b"data: " + to_json(value) + b"\n\n"


def _named(value: Any) -> bytes:
    """An event under the name that its own `type` is."""
    name: str = value["type"]
    return b"event: " + name.encode() + b"\n" + _data(value)


OPENAI = Framing("text/event-stream", _data, openai_error, end=b"data: [DONE]\n\n")
LLAMA_CPP = Framing("text/event-stream", _data, openai_error)
ANTHROPIC = Framing("text/event-stream", _named, anthropic_error)
NDJSON = Framing("application/x-ndjson", lambda value: to_json(value) + b"\n", ollama_error, ping=None)


class EventStream:
    """The response to one call; its headers go out with the first event, so that an early error has its own status."""

    def __init__(self, call: Call[Any], framing: Framing) -> None:
        self._call, self._framing = call, framing
        headers = {**call.headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        self.response = web.StreamResponse(headers=headers)
        self.response.content_type = framing.content_type
        self.response.charset = "utf-8"
        self._last_s = asyncio.get_running_loop().time()

    @property
    def started(self) -> bool:
        """Whether headers have gone out."""
        return self.response.prepared

    async def send(self, *values: Any) -> None:
        """Write events, together; waits while the client does not read, and gives it up after a while."""
        await self.write(b"".join(map(self._framing.event, values)))

    async def write(self, data: bytes) -> None:
        """Write bytes as they are; raises ConnectionResetError for a client that is gone or does not read."""
        timeout_s = self._call.service.config.write_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                if not self.started:
                    await self.response.prepare(self._call.request)
                await self.response.write(data)
        except TimeoutError:
            if self._call.request.transport is not None:
                self._call.request.transport.abort()
            raise ConnectionResetError(f"the client did not read for {timeout_s:g} s") from None
        self._last_s = asyncio.get_running_loop().time()

    async def keep_alive(self) -> None:
        """Send a ping whenever nothing has been written for a while; runs until it is cancelled."""
        interval_s, loop = self._call.service.config.keepalive_s, asyncio.get_running_loop()
        while self._framing.ping is not None:
            await asyncio.sleep(max(0.01, self._last_s + interval_s - loop.time()))
            if loop.time() - self._last_s >= interval_s:
                await self.write(self._framing.ping)


@contextlib.asynccontextmanager
async def event_stream(call: Call[Any], framing: Framing) -> AsyncIterator[EventStream]:
    """A stream for as long as the block lasts; what the block raises after the first event is sent as an event.

    What was measured goes before the end, as an event of its own.
    """
    stream = EventStream(call, framing)
    alive = asyncio.create_task(stream.keep_alive())
    try:
        yield stream
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        if not stream.started:
            raise
        problem = problem_of(error)
        if problem.status >= 500:
            log.exception("%s failed after its first event", call.request.path)
        await stream.send(framing.problem(problem))
    else:
        if (traces := TRACES.get()) is not None and traces.found:
            await stream.send({"object": "trace", "type": "trace", "choices": [], **traces.member})
    finally:
        alive.cancel()
        await asyncio.gather(alive, return_exceptions=True)
    await stream.write(framing.end)
    await stream.response.write_eof()
