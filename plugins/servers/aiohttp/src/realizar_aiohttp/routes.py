"""What a route is: every wire lists its own, the application and the OpenAPI document read them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from aiohttp import web

from realizar_aiohttp.body import read_body
from realizar_aiohttp.call import Call
from realizar_aiohttp.resilience.context import current
from realizar_aiohttp.service import SERVICE

Handler = Callable[[Call[Any]], Awaitable[web.StreamResponse]]


@attrs.frozen
class Route:
    """A method and a path, who answers, and the class of the request's body (None: there is none)."""

    method: str
    path: str
    handler: Handler
    body: type[Any] | None
    summary: str

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Read the body and call the handler."""
        if self.body is None:
            return await self.handler(Call(request, None))
        body, unknown = await read_body(request, self.body, request.app[SERVICE].config)
        current().allow(getattr(body, "timeout", None))
        return await self.handler(Call(request, body, tuple(unknown)))
