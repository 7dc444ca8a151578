"""Which names the server answers to, and which web pages may ask it."""

from __future__ import annotations

from aiohttp import web

from realizar.access import prove_host, prove_origin
from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.service import SERVICE

CORS = web.RequestKey("cors", dict[str, str])
"""Headers that let a page of an allowed origin read the response."""

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, X-Api-Key, X-Request-Id, X-Request-Timeout, X-Trace-Level, Traceparent, "
        "Anthropic-Version"
    ),
    "Access-Control-Max-Age": "600",
}


@web.middleware
async def origin(request: web.Request, handler: Next) -> web.StreamResponse:
    """Go on if the server is called by a name of its own, and by no page of another site that may not ask."""
    config = request.app[SERVICE].config
    prove_host(request.headers, config)
    allowed = prove_origin(request.headers, config)
    if allowed is None:
        return await handler(request)
    request[CORS] = {"Access-Control-Allow-Origin": allowed, "Vary": "Origin"}
    if request.method == "OPTIONS":
        return web.Response(status=204, headers=_PREFLIGHT)
    return await handler(request)


async def set_cors(request: web.Request, response: web.StreamResponse) -> None:
    """Put those headers into the response just before it goes out."""
    if CORS in request:
        response.headers.update(request[CORS])
