"""The kit catches servers that break their promises: ours, each with one of them taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import attrs
import pytest

from realizar import LLM
from realizar.servers import Server
from realizar.testing import ServerConformance
from realizar.testing.serving import pool_of, running
from realizar_aiohttp import app
from realizar_aiohttp.server import AiohttpServer
from realizar_aiohttp.sse import EventStream


class Careless(AiohttpServer):
    """Serves with another configuration than it was given."""

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    async def serve(self, pool: Any, config: Any, **events: Any) -> None:
        await super().serve(pool, attrs.evolve(config, **self._changes), **events)


@pytest.fixture(scope="module")
def llm(write_gguf: Callable[..., Path]) -> Iterator[LLM]:
    with LLM(write_gguf("F32", max_position_embeddings=1024), backend="numpy") as llm:
        yield llm


def kit(server: Server) -> ServerConformance:
    class Kit(ServerConformance):
        def make_server(self) -> Server:
            return server

    return Kit()


@pytest.mark.parametrize(
    ("change", "test"),
    [
        ({"api_keys": ()}, "test_keys"), ({"max_body_nbytes": 1 << 20}, "test_a_large_body_is_refused"),
        ({"drain_s": 0.0}, "test_open_requests_end_before_the_server_does"),
    ],
    ids=str,
)  # fmt: skip
def test_a_server_that_does_not_do_as_it_is_told_is_caught(llm: LLM, change: dict[str, Any], test: str) -> None:
    getattr(kit(AiohttpServer()), test)(llm)
    with pytest.raises((AssertionError, OSError, ValueError, HTTPException)):
        getattr(kit(Careless(**change)), test)(llm)


def test_a_server_that_answers_any_name_is_caught(llm: LLM) -> None:
    with pytest.raises(AssertionError):
        ask(llm, Careless(allowed_hosts=("evil.example",)), "test_foreign_names_and_pages_are_refused")


def ask(llm: LLM, server: Server, test: str) -> None:
    """One test of the kit that needs a client."""
    from realizar.testing.server_conformance import Client

    with running(server, pool_of(tiny=llm)) as url:
        client = Client(url)
        try:
            takes_llm = "llm" in getattr(ServerConformance, test).__annotations__
            getattr(kit(server), test)(client, *([llm] if takes_llm else []))
        finally:
            client.close()


def test_a_stream_that_loses_an_event_is_caught(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(llm, AiohttpServer(), "test_a_stream_adds_up")
    send = EventStream.send

    async def forgetful(self: EventStream, *values: Any) -> None:
        if self.started:
            await send(self, *values)
        else:
            await send(self, *values[:-1])

    monkeypatch.setattr(EventStream, "send", forgetful)
    with pytest.raises(AssertionError):
        ask(llm, AiohttpServer(), "test_a_stream_adds_up")


def test_an_exception_that_gets_out_is_caught(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the middleware that makes them answers."""
    kept = tuple(each for each in app.MIDDLEWARES if each.__name__ != "errors")
    assert len(kept) == len(app.MIDDLEWARES) - 1
    monkeypatch.setattr(app, "MIDDLEWARES", kept)
    with pytest.raises((AssertionError, ValueError)):
        ask(llm, AiohttpServer(), "test_a_body_that_does_not_fit_is_a_400")
