"""The JSON body of a request, under caps that hold before anything is done with it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar

from aiohttp import web

from realizar.servers import ServerConfig
from realizar_aiohttp.problem import Problem
from realizar_aiohttp.structure import structure

T = TypeVar("T")

INLINE_NBYTES = 32 << 10
"""A body up to this size is parsed at once; a larger one in a thread, for the event loop never waits."""


async def read_body(request: web.Request, kind: type[T], config: ServerConfig) -> tuple[T, list[str]]:
    """The request as `kind`, and the fields it does not have; raises Problem for what is no such thing."""
    raw = await request.read()
    if len(raw) <= INLINE_NBYTES:
        return _parse(raw, kind, config)
    return await asyncio.to_thread(_parse, raw, kind, config)


def _parse(raw: bytes, kind: type[T], config: ServerConfig) -> tuple[T, list[str]]:
    found, unknown = structure(_json(raw, config.max_json_depth), kind)
    if unknown and config.strict:
        raise Problem(
            status=400, code="unknown_parameter", param=unknown[0],
            message=f"{', '.join(unknown[:20])}: not known here, and this server was started with --strict",
        )  # fmt: skip
    return found, unknown


def _json(raw: bytes, max_depth: int) -> Any:
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise _malformed(f"lists and objects nest deeper than {max_depth}") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, an integer of thousands of digits
        raise _malformed(f"not JSON: {str(error)[:200]}") from None
    _prove_sound(value, max_depth)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _prove_sound(value: Any, max_depth: int) -> None:
    """Refuse deep nesting, and texts that are none: half of a surrogate pair."""
    level = [value]
    for _ in range(max_depth):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return
    raise _malformed(f"lists and objects nest deeper than {max_depth}")


def _inside(item: Any) -> list[Any]:
    if isinstance(item, str):
        try:
            item.encode("utf-8")
        except UnicodeEncodeError:
            raise _malformed("a text has half of a surrogate pair, which stands for no character") from None
        return []
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    return item if isinstance(item, list) else []


def _malformed(why: str) -> Problem:
    return Problem(status=400, code="invalid_json", message=f"the body of the request: {why}")
