"""A server in a thread, for tests that ask it over the network."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

from realizar.engine import LLM
from realizar.model_pool import ModelPool
from realizar.servers import Server, ServerConfig


@contextlib.contextmanager
def running(server: Server, pool: ModelPool, **config: Any) -> Iterator[str]:
    """The URL of `server`, which listens on a free port until the block ends; keywords as in ServerConfig.

    Raises what `serve` raised; AssertionError if it does not end within a minute of being told to.
    """
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def listening(url: str) -> None:
            found.put((url, lambda: loop.call_soon_threadsafe(stop.set)))

        await server.serve(pool, ServerConfig(**({"port": 0} | config)), listening=listening, stop=stop)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            found.put(error)

    thread = threading.Thread(target=run, name="served", daemon=True)
    thread.start()
    first = found.get(timeout=60)
    if isinstance(first, BaseException):
        raise first
    url, stop = first
    try:
        yield url
    finally:
        stop()
        thread.join(60)
    assert not thread.is_alive(), "serve() went on for a minute after it was told to stop"
    if not found.empty():
        raise found.get()


def pool_of(**models: LLM) -> ModelPool:
    """A pool that has loaded these models, by id; the first is the default."""

    def loader(llm: LLM) -> Any:
        return lambda: llm

    pool = ModelPool({name: loader(llm) for name, llm in models.items()})
    pool.load(*models)
    return pool
