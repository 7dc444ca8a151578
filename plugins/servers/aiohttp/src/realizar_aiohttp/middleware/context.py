"""What the log and the response say of every request: its trace, and what became of it."""

from __future__ import annotations

import time

from aiohttp import web

from realizar import json_log
from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.middleware.request_id import REQUEST_ID
from realizar_aiohttp.resilience.context import Context, begin
from realizar_aiohttp.resilience.trace_context import HEADER, continued
from realizar_aiohttp.service import log

CONTEXT = web.RequestKey("context", Context)


@web.middleware
async def context(request: web.Request, handler: Next) -> web.StreamResponse:
    """Go on within a context of the request's own; an entry in the log at its end, with a route and never a text."""
    trace = continued(request.headers.get(HEADER, ""))
    request[CONTEXT] = Context(headers={HEADER: str(trace)})
    begin(request[CONTEXT])
    json_log.REQUEST.set({"request_id": request[REQUEST_ID], "trace_id": trace.trace_id, "span_id": trace.span_id})
    started_s, status = time.perf_counter(), 499
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        resource = request.match_info.route.resource
        route, seconds = "unknown" if resource is None else resource.canonical, time.perf_counter() - started_s
        members = {"method": request.method, "route": route, "status": status, "seconds": round(seconds, 6)}
        log.info("%s %s: %d", request.method, route, status, extra={**members, "key": request[CONTEXT].key})


async def set_context(request: web.Request, response: web.StreamResponse) -> None:
    """Put what is to be said into the headers just before they go out."""
    if CONTEXT in request:
        response.headers.update(request[CONTEXT].headers)
