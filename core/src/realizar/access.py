"""Who may ask a server: by key, by the name it is called, and by the web page that asks. Every server owes this.

A page of any site can make a browser send requests to this machine: by its address, which `Origin` and
`Sec-Fetch-Site` give away, or by a name of its own that it points here (DNS rebinding), which `Host` gives away.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from realizar.errors import RealizarError
from realizar.servers import ServerConfig

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class AccessDenied(RealizarError):
    """A request that is not answered; carries the HTTP status, a slug and a hint for whoever runs the server."""

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.hint = hint


def prove_key(headers: Mapping[str, str], config: ServerConfig) -> None:
    """Raise AccessDenied (401) unless no key is asked for, or a known one is there.

    It stands in `Authorization: Bearer KEY` or `x-api-key: KEY`; the comparison takes the same time for every key.
    """
    if config.api_keys and not _is_known(_given_key(headers), config.api_keys):
        raise AccessDenied(
            401, "invalid_api_key", "a key is needed, and none that is known was given",
            "send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'",
        )  # fmt: skip


def key_id(headers: Mapping[str, str]) -> str:
    """A short name of the key that a request brings, by which the key itself cannot be found; "none" without one."""
    key = _given_key(headers)
    return _digest(key).hex()[:12] if key else "none"


def _given_key(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _is_known(key: str, keys: tuple[str, ...]) -> bool:
    given = _digest(key)
    matches = [hmac.compare_digest(given, _digest(known)) for known in keys]
    return any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def prove_host(headers: Mapping[str, str], config: ServerConfig) -> None:
    """Raise AccessDenied (403) unless `Host` is a name of this server.

    Where other machines reach it, any address is one: no page can turn its own site's name into an address.
    """
    host = _hostname(headers.get("Host", ""))
    if host in {*_LOOPBACK, config.host.lower(), *(name.lower() for name in config.allowed_hosts)}:
        return
    if config.is_loopback or not _is_address(host):
        raise AccessDenied(
            403, "host_not_allowed", f"Host: found {host[:200]!r}, which is no name of this server",
            "start it with --allow-host NAME to be called by that name",
        )  # fmt: skip


def prove_origin(headers: Mapping[str, str], config: ServerConfig) -> str | None:
    """The origin of the page that asks, if it is another one that may; raises AccessDenied (403) if it may not."""
    given = headers.get("Origin")
    if given is not None and given.rstrip("/") in config.allowed_origins:
        return given
    same = given is None or given.partition("://")[2] == headers.get("Host")
    if not same or headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise AccessDenied(
            403, "origin_not_allowed", f"a page of {(given or 'another site')[:200]} may not ask",
            "start the server with --allow-origin ORIGIN to let its pages ask",
        )  # fmt: skip
    return None


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
