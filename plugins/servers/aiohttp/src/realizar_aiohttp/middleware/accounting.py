"""Which requests are open, how long they took, and that none begins when the server ends."""

from __future__ import annotations

import time

from aiohttp import web

from realizar_aiohttp.health import PUBLIC
from realizar_aiohttp.middleware.errors import respond
from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.problem import Problem
from realizar_aiohttp.service import SERVICE

_ENDING = Problem(
    status=503, code="unavailable", message="the server is ending and takes no new requests", hint="try another one",
    headers={"Retry-After": "1", "Connection": "close"},
)  # fmt: skip


@web.middleware
async def accounting(request: web.Request, handler: Next) -> web.StreamResponse:
    """Count a request by its route, never by its path, which anybody can make up."""
    service, started_s = request.app[SERVICE], time.perf_counter()
    resource = request.match_info.route.resource
    route = "unknown" if resource is None else resource.canonical
    if service.draining and route not in PUBLIC:
        return respond(request, _ENDING)
    status = 499  # as nginx has it: the client left
    service.enter()
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        service.leave()
        method = request.method if resource is not None else "any"
        service.metrics.requests.labels(method, route, str(status)).inc()
        service.metrics.request_seconds.labels(route).observe(time.perf_counter() - started_s)
