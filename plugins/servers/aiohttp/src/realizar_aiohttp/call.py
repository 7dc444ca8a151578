"""One request on its way to a handler."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs
from aiohttp import web

from realizar_aiohttp.service import SERVICE, Service
from realizar_aiohttp.tracing import TRACES

T = TypeVar("T")

IGNORED = "X-Realizar-Ignored-Fields"
"""The header that names the fields of a request that are not known."""


@attrs.frozen
class Call(Generic[T]):
    """The HTTP request, its body as the class that the route declares (None if it has none), and unknown fields."""

    request: web.Request
    body: T
    unknown: tuple[str, ...] = ()

    @property
    def service(self) -> Service:
        """What all requests share."""
        return self.request.app[SERVICE]

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response that follow from the request."""
        names = ", ".join(re.sub(r"[^\x21-\x7e]", "?", name) for name in self.unknown[:50])
        return {IGNORED: names} if names else {}

    def json(self, value: Any, headers: Mapping[str, str] | None = None) -> web.Response:
        """A response of JSON; an object, or the last of a list, also has what was measured, if that was asked for."""
        if (traces := TRACES.get()) is not None:
            value = _with(value, traces.member)
        return web.Response(
            body=to_json(value), content_type="application/json", headers={**self.headers, **(headers or {})}
        )


def _with(value: Any, member: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {**value, **member}
    return [*value[:-1], _with(value[-1], member)] if isinstance(value, list) and value else value


def to_json(value: Any) -> bytes:
    """JSON in UTF-8, without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
