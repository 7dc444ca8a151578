"""Which names the server answers to, and which web pages may ask it.

A page of any site can make a browser send requests to this machine: by its address, which `Origin` and
`Sec-Fetch-Site` give away, or by a name of its own that it points here (DNS rebinding), which `Host` gives away.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web

from realizar.servers import ServerConfig
from realizar_aiohttp.middleware.handler import Next
from realizar_aiohttp.problem import Problem
from realizar_aiohttp.service import SERVICE

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@web.middleware
async def origin(request: web.Request, handler: Next) -> web.StreamResponse:
    """Go on if the server is called by a name of its own, and by no page of another site."""
    config = request.app[SERVICE].config
    _prove_host(request, config)
    allowed = _prove_origin(request, config)
    if allowed is None:
        return await handler(request)
    if request.method == "OPTIONS":
        return web.Response(status=204, headers={**allowed, **_PREFLIGHT})
    request[CORS] = allowed
    return await handler(request)


CORS = web.RequestKey("cors", dict[str, str])
"""Headers that let a page of an allowed origin read the response."""

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Api-Key, X-Request-Id, Anthropic-Version",
    "Access-Control-Max-Age": "600",
}


async def set_cors(request: web.Request, response: web.StreamResponse) -> None:
    """Put those headers into the response just before it goes out."""
    if CORS in request:
        response.headers.update(request[CORS])


def _prove_host(request: web.Request, config: ServerConfig) -> None:
    host = _hostname(f"//{request.headers.get('Host', '')}")
    if host in {*_LOOPBACK, config.host.lower(), *(name.lower() for name in config.allowed_hosts)}:
        return
    if not config.is_loopback and _is_address(host):
        return  # a page cannot make its own site's name into an address
    raise Problem(
        status=403, code="host_not_allowed", message=f"Host: found {host[:200]!r}, which is no name of this server",
        hint="start it with --allow-host NAME to be called by that name",
    )  # fmt: skip


def _prove_origin(request: web.Request, config: ServerConfig) -> dict[str, str] | None:
    """Headers for the page that asks, if it is one of another origin that may."""
    given = request.headers.get("Origin")
    if given is not None and given.rstrip("/") in config.allowed_origins:
        return {"Access-Control-Allow-Origin": given, "Vary": "Origin"}
    same = given is None or given.partition("://")[2] == request.headers.get("Host")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if not same or site not in ("none", "same-origin"):
        raise Problem(
            status=403, code="origin_not_allowed", message=f"a page of {(given or 'another site')[:200]} may not ask",
            hint="start the server with --allow-origin ORIGIN to let its pages ask",
        )  # fmt: skip
    return None


def _hostname(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
