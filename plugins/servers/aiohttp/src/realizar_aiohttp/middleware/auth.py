"""Keys, on every route but those that tell only whether the server lives."""

from __future__ import annotations

from aiohttp import web

from realizar.access import prove_key
from realizar_aiohttp.health import PUBLIC
from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.service import SERVICE
from realizar_aiohttp.static_page import PAGE_PATH


@web.middleware
async def auth(request: web.Request, handler: Next) -> web.StreamResponse:
    """Go on if the request brings a key, or needs none."""
    is_page = request.path.startswith(PAGE_PATH)  # the shell holds nothing: what it shows it asks for, with the key
    if not is_page and (request.path not in PUBLIC or "deep" in request.query):
        prove_key(request.headers, request.app[SERVICE].config)
    return await handler(request)
