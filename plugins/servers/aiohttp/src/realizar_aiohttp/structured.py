"""Requests for structured output: what of them is served, and the refusal of the rest by name."""

from __future__ import annotations

from typing import Any, Protocol

from realizar_aiohttp.problem import not_supported


class Structured(Protocol):
    """The fields of a request that ask for structure."""

    @property
    def tools(self) -> list[dict[str, Any]] | None: ...
    @property
    def tool_choice(self) -> Any: ...
    @property
    def response_format(self) -> dict[str, Any] | None: ...


def prove_plain(request: Structured) -> None:
    """Refuse what would need tool calls or a constrained sampler, which this server does not have yet."""
    if request.tools:
        raise not_supported("tools", "tool calls are not served yet", "describe them in the system message")
    if request.tool_choice not in (None, "none", "auto"):
        raise not_supported("tool_choice", "tool calls are not served yet")
    kind = (request.response_format or {}).get("type", "text")
    if kind != "text":
        raise not_supported("response_format", f"found the type {kind!r:.60}; only 'text' is served yet")
