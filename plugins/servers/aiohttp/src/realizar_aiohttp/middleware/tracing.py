"""Whether the times of a request are to be measured."""

from __future__ import annotations

from aiohttp import web

from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.tracing import HEADER, TRACES, traces_of


@web.middleware
async def tracing(request: web.Request, handler: Next) -> web.StreamResponse:
    """Note what the header asks for where the generation finds it."""
    traces = traces_of(request.headers.get(HEADER))
    if traces is None:
        return await handler(request)
    token = TRACES.set(traces)
    try:
        return await handler(request)
    finally:
        TRACES.reset(token)
