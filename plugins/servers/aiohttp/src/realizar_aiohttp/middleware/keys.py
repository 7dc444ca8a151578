"""How much a key may ask, and how long its requests may take."""

from __future__ import annotations

from aiohttp import web

from realizar.access import key_id
from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.resilience.context import HEADER, current, seconds_of
from realizar_aiohttp.service import SERVICE


@web.middleware
async def keys(request: web.Request, handler: Next) -> web.StreamResponse:
    """Go on if the key has a request to spare; one that computes nothing needs none. Without keys all are one."""
    service, context = request.app[SERVICE], current()
    context.key = key_id(request.headers) if service.config.api_keys else "none"
    context.allow(service.config.limits.request_timeout_s)
    if HEADER in request.headers:
        context.allow(seconds_of(request.headers[HEADER]))
    if request.method != "POST":
        return await handler(request)
    with service.resilience.keys.request(context.key):
        return await handler(request)
