"""Keys, on every route but those that tell only whether the server lives."""

from __future__ import annotations

import hashlib
import hmac

from aiohttp import web

from realizar_aiohttp.health import PUBLIC
from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.problem import Problem
from realizar_aiohttp.service import SERVICE


@web.middleware
async def auth(request: web.Request, handler: Next) -> web.StreamResponse:
    """Go on if there are no keys, or the request brings one (`Authorization: Bearer`, or `x-api-key`)."""
    keys = request.app[SERVICE].config.api_keys
    is_public = request.path in PUBLIC and "deep" not in request.query
    if keys and not is_public and not is_known(given_key(request), keys):
        raise Problem(
            status=401, code="invalid_api_key", message="a key is needed, and none that is known was given",
            hint="send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'", headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    return await handler(request)


def given_key(request: web.Request) -> str:
    """The key that a request brings, or an empty one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")


def is_known(key: str, keys: tuple[str, ...]) -> bool:
    """Whether it is one of them; takes the same time whichever it is and wherever it differs."""
    given = _digest(key)
    matches = [hmac.compare_digest(given, _digest(known)) for known in keys]
    return any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
