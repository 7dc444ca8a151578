"""JSON Schema of the classes that requests are structured into."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from realizar_aiohttp.fields import MAX_TEXT
from realizar_aiohttp.structure import fields_of

_SCALARS = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}

_LIMITS = {"low": "minimum", "high": "maximum"}


def component_name(kind: Any) -> str:
    """A class's name in the document: classes of two wires may have one name."""
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"


def components(kinds: list[Any]) -> dict[str, Any]:
    """The schemas of these classes and of those that they refer to, by name."""
    found: dict[str, Any] = {}
    for kind in kinds:
        _add(kind, found)
    return found


def _add(kind: Any, found: dict[str, Any]) -> None:
    name = component_name(kind)
    if name in found:
        return
    found[name] = {}  # its place, should it refer to itself
    properties, required = {}, []
    for field, hint in fields_of(kind):
        properties[field.name] = _field(field, hint, found)
        if field.default is attrs.NOTHING:
            required.append(field.name)
    found[name] = {"type": "object", "description": kind.__doc__, "properties": properties}
    if required:
        found[name]["required"] = required


def _field(field: Any, hint: Any, found: dict[str, Any]) -> dict[str, Any]:
    schema = _schema(hint, field.metadata, found)
    described = {"description": field.metadata["doc"]} if field.metadata.get("doc") else {}
    plain = field.default is not None and isinstance(field.default, (bool, int, float, str))
    default = {"default": field.default} if plain else {}
    return {**schema, **described, **default}


def _schema(kind: Any, bounds: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    if kind is Any:
        return {}
    if attrs.has(kind):
        _add(kind, found)
        return {"$ref": f"#/components/schemas/{component_name(kind)}"}
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(member, bounds, found) for member in args]}
    if origin is Literal:
        return {"type": "string", "enum": list(args)}
    inner = {name: bound for name, bound in bounds.items() if name != "max_items"}
    if origin is list:
        most = {"maxItems": bounds["max_items"]} if "max_items" in bounds else {}
        return {"type": "array", "items": _schema(args[0], inner, found), **most}
    if origin is dict:
        most = {"maxProperties": bounds["max_items"]} if "max_items" in bounds else {}
        return {"type": "object", "additionalProperties": _schema(args[1], inner, found), **most}
    return _scalar(kind, bounds)


def _scalar(kind: Any, bounds: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _SCALARS[kind]}
    if kind is str:
        schema["maxLength"] = bounds.get("max_chars", MAX_TEXT)
    elif kind in (int, float):
        schema |= {name: bounds[bound] for bound, name in _LIMITS.items() if bound in bounds}
    return schema
