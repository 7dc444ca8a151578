"""From JSON to the attrs classes of requests, with the path of whatever does not fit.

Not cattrs: it converts where it must refuse, and forgets the path of a field that it does not know.
"""

from __future__ import annotations

import functools
import reprlib
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from realizar_aiohttp.fields import MAX_TEXT
from realizar_aiohttp.problem import Problem, wrong_value

T = TypeVar("T")

_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a text", type(None): "null"}


def structure(value: Any, kind: type[T]) -> tuple[T, list[str]]:
    """An instance of the attrs class `kind`, and the paths of the fields that it does not have.

    null stands for a field that is not given. Raises Problem with the path of the first field that does not fit.
    """
    unknown: list[str] = []
    found: T = _structure(value, kind, "", {}, unknown)
    return found, unknown


def _structure(value: Any, kind: Any, path: str, bounds: Mapping[str, Any], unknown: list[str]) -> Any:
    """`value` as `kind`, which the annotations of requests are made of."""
    if kind is Any:
        return value
    if attrs.has(kind):
        return _object(value, kind, path, unknown)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _structure(value, _member(value, kind, path), path, bounds, unknown)
    if origin is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            raise wrong_value(path, show(value), _described(kind))
        return value
    if origin is list:
        return _list(value, kind, path, bounds, unknown)
    if origin is dict:
        return _dict(value, kind, path, bounds, unknown)
    return _scalar(value, kind, path, bounds)


def _object(value: Any, kind: Any, path: str, unknown: list[str]) -> Any:
    if not isinstance(value, dict):
        raise wrong_value(path or "body", show(value), "an object")
    prefix = f"{path}." if path else ""
    given = {}
    for field, hint in fields_of(kind):
        at = f"{prefix}{field.name}"
        if value.get(field.name) is not None:
            given[field.name] = _structure(value[field.name], hint, at, field.metadata, unknown)
        elif field.default is attrs.NOTHING:
            raise Problem(status=400, code="missing_required_parameter", param=at, message=f"{at}: is missing")
    known = {field.name for field, _ in fields_of(kind)}
    unknown += [f"{prefix}{name[:64]}" for name in value if name not in known]
    return kind(**given)


@functools.cache
def fields_of(kind: Any) -> tuple[tuple[Any, Any], ...]:
    """The attributes of a request class, each with its type."""
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in attrs.fields(kind))


def _member(value: Any, kind: Any, path: str) -> Any:
    """The member of a union that JSON's own types point to."""
    for member in get_args(kind):
        if _fits(value, member):
            return member
    raise wrong_value(path, show(value), _described(kind))


def _fits(value: Any, kind: Any) -> bool:
    """Whether `value` looks like a `kind`: of lists the first item decides."""
    origin = get_origin(kind)
    if origin is list:
        return isinstance(value, list) and (not value or _fits(value[0], get_args(kind)[0]))
    if origin is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if attrs.has(kind) or origin is dict:
        return isinstance(value, dict)
    return _is_scalar(value, kind)


def _is_scalar(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is kind


def _list(value: Any, kind: Any, path: str, bounds: Mapping[str, Any], unknown: list[str]) -> list[Any]:
    if not isinstance(value, list):
        raise wrong_value(path, show(value), "a list")
    _prove_few(len(value), path, bounds)
    (item,) = get_args(kind)
    inner = {name: bound for name, bound in bounds.items() if name != "max_items"}
    return [_structure(each, item, f"{path}[{i}]", inner, unknown) for i, each in enumerate(value)]


def _dict(value: Any, kind: Any, path: str, bounds: Mapping[str, Any], unknown: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong_value(path, show(value), "an object")
    _prove_few(len(value), path, bounds)
    inner = {name: bound for name, bound in bounds.items() if name != "max_items"}
    hint = get_args(kind)[1]
    return {key: _structure(each, hint, f"{path}.{key[:64]}", inner, unknown) for key, each in value.items()}


def _prove_few(count: int, path: str, bounds: Mapping[str, Any]) -> None:
    most = bounds.get("max_items")
    if most is not None and count > most:
        raise wrong_value(path, f"{count} items", f"at most {most}")


def _scalar(value: Any, kind: Any, path: str, bounds: Mapping[str, Any]) -> Any:
    if not _is_scalar(value, kind):
        raise wrong_value(path, show(value), _NAMES[kind])
    if kind is str:
        most = bounds.get("max_chars", MAX_TEXT)
        if len(value) > most:
            raise wrong_value(path, f"a text of {len(value)} characters", f"at most {most}")
        return value
    low, high = bounds.get("low"), bounds.get("high")
    if (low is not None and value < low) or (high is not None and value > high):
        raise wrong_value(path, show(value), _range(kind, low, high))
    return _float(value, path) if kind is float else value


def _float(value: float, path: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise wrong_value(path, "an integer beyond every float", "a number") from None


def _range(kind: Any, low: float | None, high: float | None) -> str:
    ends = [f"from {low}"] * (low is not None) + [f"to {high}"] * (high is not None)
    return f"{_NAMES[kind]} {' '.join(ends)}"


def _described(kind: Any) -> str:
    """A type in words."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(member) for member in get_args(kind) if member is not type(None))
    if origin is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(kind))
    if origin is list:
        return f"a list (of {_described(get_args(kind)[0])})"
    return _NAMES.get(kind, "an object")


def show(value: Any) -> str:
    """A value in few characters, as JSON would have it."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return "an integer of more than 256 bits"  # Python refuses to print some of those
    named = {True: "true", False: "false", None: "null"} if isinstance(value, bool) or value is None else {}
    containers: list[tuple[type, Callable[[Any], str]]] = [
        (dict, lambda v: f"an object of {len(v)} fields"),
        (list, lambda v: f"a list of {len(v)} items"),
    ]
    for container, words in containers:
        if isinstance(value, container):
            return words(value)
    return named.get(value) or reprlib.repr(value)
