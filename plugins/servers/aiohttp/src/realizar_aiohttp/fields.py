"""Fields of requests: default, bounds and meaning in one place, read by `structure` and by the OpenAPI document."""

from __future__ import annotations

from typing import Any

import attrs

MAX_TEXT = 4 << 20
"""Characters of one text unless a field says otherwise."""


def field(
    default: Any = attrs.NOTHING, doc: str = "", *, low: float | None = None, high: float | None = None,
    max_items: int | None = None, max_chars: int | None = None,
) -> Any:  # fmt: skip
    """An attribute of a request; without a default it is required. low, high: of numbers, both included.

    max_items: of the list or object itself; max_chars: of every text in it.
    """
    bounds = {"low": low, "high": high, "max_items": max_items, "max_chars": max_chars}
    return attrs.field(
        default=default, metadata={"doc": doc, **{name: bound for name, bound in bounds.items() if bound is not None}}
    )
