"""An id by which a request is found again in the log."""

from __future__ import annotations

import re
import uuid

from aiohttp import web

from realizar_aiohttp.middleware.handler import Next

HEADER = "X-Request-Id"

REQUEST_ID = web.RequestKey("request_id", str)

_PLAIN = re.compile(r"[\w.:-]{1,128}", re.ASCII)


@web.middleware
async def request_id(request: web.Request, handler: Next) -> web.StreamResponse:
    """The caller's own id if it is a plain word, else a new one; it is in the response and in the log."""
    given = request.headers.get(HEADER, "")
    request[REQUEST_ID] = given if _PLAIN.fullmatch(given) else f"req_{uuid.uuid4().hex}"
    return await handler(request)


async def set_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Put the id into the headers, of streams too, just before they go out."""
    if REQUEST_ID in request:
        response.headers[HEADER] = request[REQUEST_ID]
