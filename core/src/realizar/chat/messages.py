"""The conversation as a template sees it: plain data, so that no object of the host is within its reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from realizar.errors import TemplateError

MAX_DEPTH = 100
"""How deeply lists and mappings of a message may nest."""

_REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Names under which reasoning is passed; the first is the standard one."""


def plain_data(value: Any, where: str, depth: int = 0) -> Any:
    """A copy of `value` made of None, bool, int, float, str, list, tuple and dict, and of nothing derived from them.

    Raises TemplateError naming `where` an object of another type stands, or lists and mappings nest too deeply.
    """
    if depth > MAX_DEPTH:
        raise TemplateError(f"{where[:100]}...: lists and mappings nest deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        return {
            plain_data(key, where, depth + 1): plain_data(item, f"{where}.{key}", depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        items = [plain_data(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    return _plain_scalar(value, where)


def _plain_scalar(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TemplateError(f"{where}: found a {type(value).__name__}, expected text, numbers, lists and mappings")


def plain_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages as plain data, each with its reasoning under the names that templates read.

    As in `transformers` 5: whichever of `reasoning_content`, `thinking` and `reasoning` is given first becomes
    `reasoning_content`, and `thinking` where that is missing.
    Raises TemplateError if a message is not a mapping.
    """
    plain = plain_data(messages, "messages")
    for i, message in enumerate(plain):
        if not isinstance(message, dict):
            raise TemplateError(f"messages[{i}]: found a {type(message).__name__}, expected a mapping")
    return [_with_reasoning(message) for message in plain]


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    given = [message[name] for name in _REASONING_FIELDS if message.get(name) is not None]
    return {"thinking": given[0], **message, "reasoning_content": given[0]} if given else message
