"""Keys, on every route but those that tell only whether the server lives."""

from __future__ import annotations

from aiohttp import web

from realizar.access import prove_key
from realizar_aiohttp.health import PUBLIC
from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.service import SERVICE


@web.middleware
async def auth(request: web.Request, handler: Next) -> web.StreamResponse:
    """Go on if the request brings a key, or needs none."""
    if request.path not in PUBLIC or "deep" in request.query:
        prove_key(request.headers, request.app[SERVICE].config)
    return await handler(request)
