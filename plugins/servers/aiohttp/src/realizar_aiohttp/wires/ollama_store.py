"""POST /api/pull and DELETE /api/delete, as Ollama has them: models of our catalog in the cache, by their aliases.

Only under --allow-manage, and only aliases: a request never brings an address or a path.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import attrs
from aiohttp import web

from realizar.errors import StoreError
from realizar.store import list_models, pull, remove
from realizar.store.catalog import find_alias, shipped_catalog
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.managing import prove_managing
from realizar_aiohttp.problem import Problem, wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.sse import NDJSON, event_stream


@attrs.frozen(kw_only=True)
class PullRequest:
    """An alias to be downloaded."""

    model: str | None = field(None, max_chars=512)
    name: str | None = field(None, "the older name of the field", max_chars=512)
    stream: bool = field(True, "one JSON object a line, instead of one for all")
    insecure: bool = field(False, "not used: everything is verified")


@attrs.frozen(kw_only=True)
class DeleteRequest:
    """An alias to be deleted."""

    model: str | None = field(None, max_chars=512)
    name: str | None = field(None, "the older name of the field", max_chars=512)


async def pull_model(call: Call[PullRequest]) -> web.StreamResponse:
    """Download a model and verify it; progress a line at a time."""
    prove_managing(call, "pull a model")
    alias = _alias(call.body)
    if not call.body.stream:
        await asyncio.to_thread(pull, alias)
        return call.json({"status": "success"})
    lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def report(stage: str, done: int, total: int) -> None:
        line = {"status": stage, "digest": alias, "total": total, "completed": done}
        loop.call_soon_threadsafe(lines.put_nowait, line)

    async with event_stream(call, NDJSON) as events:
        await events.send({"status": "pulling manifest"})
        pulling = asyncio.create_task(asyncio.to_thread(pull, alias, report))
        pulling.add_done_callback(lambda _: lines.put_nowait(None))
        while (line := await lines.get()) is not None:
            await events.send(line)
        await pulling
        await events.send({"status": "success"})
    return events.response


async def delete_model(call: Call[DeleteRequest]) -> web.Response:
    """Delete a model's files; one that is served stays."""
    prove_managing(call, "delete a model")
    alias = _alias(call.body)
    if alias in call.service.pool.ids:
        raise Problem(
            status=409, code="model_in_use", message=f"model {alias!r} is served here", hint="end the server first"
        )
    if not any(stored.name == alias and stored.status != "absent" for stored in list_models()):
        raise Problem(status=404, code="model_not_found", message=f"model {alias!r} is not here")
    await asyncio.to_thread(functools.partial(remove, alias))
    return web.Response(status=200)


def _alias(body: PullRequest | DeleteRequest) -> str:
    """The alias that a request names, without Ollama's tag; raises Problem (404) for what is none."""
    name = body.model or body.name
    if name is None:
        raise wrong_value("model", "nothing", "the name of a model")
    try:
        return find_alias(name.removesuffix(":latest"), shipped_catalog()).name
    except StoreError as error:
        raise Problem(status=404, code="model_not_found", param="model", message=str(error)) from error


ROUTES = (
    Route("POST", "/api/pull", pull_model, PullRequest, "Download a model (--allow-manage)"),
    Route("DELETE", "/api/delete", delete_model, DeleteRequest, "Delete a model (--allow-manage)"),
)
