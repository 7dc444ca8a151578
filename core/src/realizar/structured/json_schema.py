"""Which JSON schemas can be kept, proved keyword by keyword before anything is compiled.

Source of the keywords: JSON Schema 2020-12, core and validation. A keyword that is not here is refused by its path:
a validator would heed or ignore it, and neither may happen in silence.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from realizar.errors import RequestError

MAX_NODES = 8192
"""JSON values in a schema."""

MAX_DEPTH = 64
"""Lists and objects within each other."""

MAX_MULTIPLE = 1000
"""The least common multiple of all `multipleOf`, in units of their last digit: an automaton has as many states."""

KEYWORDS = {
    "$ref": "reference", "$defs": "map", "definitions": "map",
    "anyOf": "list", "oneOf": "list", "allOf": "list", "prefixItems": "list",
    "items": "schema", "additionalProperties": "schema", "properties": "map", "patternProperties": "map",
    "type": "value", "const": "value", "enum": "value", "required": "value", "pattern": "value", "format": "format",
    "minLength": "value", "maxLength": "value", "minItems": "value", "maxItems": "value",
    "minProperties": "value", "maxProperties": "value", "multipleOf": "multiple",
    "minimum": "value", "maximum": "value", "exclusiveMinimum": "value", "exclusiveMaximum": "value",
    "title": "note", "description": "note", "default": "note", "examples": "note", "deprecated": "note",
    "readOnly": "note", "writeOnly": "note", "$comment": "note", "$schema": "note",
}  # fmt: skip
"""Keyword -> what its value is: schemas, something to keep, or a note that asserts nothing."""

FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")

_INSTEAD = {
    "nullable": 'use {"type": [..., "null"]}',
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
    "additionalItems": "use prefixItems and items",
    "$id": "leave it out: references are to #",
}

Path = tuple[str | int, ...]


def prove_schema(schema: Any) -> None:
    """Raise RequestError, with the path, for what is no schema or has a keyword that could not be kept."""
    _prove_size(schema)
    multiples: list[Decimal] = []
    for path, node in walk(schema):
        _prove_node(path, node)
        if isinstance(node, Mapping) and "multipleOf" in node:
            multiples.append(_multiple(path, node["multipleOf"]))
    if multiples and _common_multiple(multiples) > MAX_MULTIPLE:
        raise RequestError(
            f"json_schema: multipleOf: the common multiple of all is above {MAX_MULTIPLE} in units of the last digit; "
            f"leave it out and check the number afterwards"
        )


def walk(schema: Any) -> Iterator[tuple[Path, Any]]:
    """All schemas inside of a schema, itself first, each with its path."""
    pending: list[tuple[Path, Any]] = [((), schema)]
    while pending:
        path, node = pending.pop()
        yield path, node
        if isinstance(node, Mapping):
            pending += reversed(list(_inside(path, node)))


def pointer(path: Path) -> str:
    """A path as a JSON pointer in a URI fragment (RFC 6901, section 6), cut where it is very long."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    text = "".join(f"/{part}" for part in parts)
    return "#" + (text if len(text) <= 300 else f"{text[:300]}...")


def _inside(path: Path, node: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    for keyword, value in node.items():
        kind = KEYWORDS.get(keyword)
        if kind == "schema":
            yield (*path, keyword), value
        elif kind == "list" and isinstance(value, list):
            yield from (((*path, keyword, i), item) for i, item in enumerate(value))
        elif kind == "map" and isinstance(value, Mapping):
            yield from (((*path, keyword, name), item) for name, item in value.items())


def _prove_size(schema: Any) -> None:
    """Count all JSON values and how deeply they nest, without recursion."""
    pending, count = [(schema, 1)], 0
    while pending:
        value, depth = pending.pop()
        count += 1
        if count > MAX_NODES:
            raise RequestError(f"json_schema: more than {MAX_NODES} values; split the task or simplify the schema")
        if depth > MAX_DEPTH:
            raise RequestError(f"json_schema: nests deeper than {MAX_DEPTH}; name parts under $defs and use $ref")
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
        pending += [(item, depth + 1) for item in inner]


def _prove_node(path: Path, node: Any) -> None:
    if isinstance(node, bool):
        return
    if not isinstance(node, Mapping):
        raise RequestError(f"json_schema: {pointer(path)}: found {reprlib.repr(node)}, expected a schema")
    for keyword, value in node.items():
        where = (*path, keyword)
        if keyword not in KEYWORDS:
            raise _unsupported(where)
        _prove_value(where, value)
    _prove_min_properties(path, node)


def _prove_value(path: Path, value: Any) -> None:
    kind = KEYWORDS[str(path[-1])]
    if kind == "list" and not isinstance(value, list):
        raise RequestError(f"json_schema: {pointer(path)}: found {reprlib.repr(value)}, expected a list of schemas")
    if kind == "map" and not isinstance(value, Mapping):
        raise RequestError(f"json_schema: {pointer(path)}: found {reprlib.repr(value)}, expected schemas by name")
    if kind == "reference" and not (isinstance(value, str) and value.startswith("#")):
        raise RequestError(
            f"json_schema: {pointer(path)}: found {reprlib.repr(value)}, expected a reference inside of this schema "
            f"(#/$defs/...); nothing is fetched"
        )
    if kind == "format" and value not in FORMATS:
        raise RequestError(
            f"json_schema: {pointer(path)}: found {reprlib.repr(value)}, expected one of {', '.join(FORMATS)}"
        )


def _unsupported(path: Path) -> RequestError:
    keyword = str(path[-1])
    instead = _INSTEAD.get(keyword, "leave it out, and check it on the result")
    return RequestError(f"json_schema: {pointer(path)}: {keyword} cannot be kept during generation; {instead}")


def _prove_min_properties(path: Path, node: Mapping[str, Any]) -> None:
    """Keys beyond `properties` may repeat in the text, so that only required ones count for certain."""
    least, required = node.get("minProperties", 0), node.get("required", ())
    if isinstance(least, int) and isinstance(required, (list, tuple)) and least > max(1, len(required)):
        where = pointer((*path, "minProperties"))
        raise RequestError(
            f"json_schema: {where}: found {least}, expected at most 1 or as many as are required: "
            f"other keys are not kept from repeating"
        )


def _multiple(path: Path, value: Any) -> Decimal:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0 or value > 1e9 or value < 1e-9:
        where = pointer((*path, "multipleOf"))
        raise RequestError(f"json_schema: {where}: found {reprlib.repr(value)}, expected a number from 1e-9 to 1e9")
    return Decimal(str(value))


def _common_multiple(multiples: list[Decimal]) -> int:
    """Of integers, once all are multiplied by the same power of ten."""
    digits = max(0, *(-int(multiple.normalize().as_tuple().exponent) for multiple in multiples), 0)
    return math.lcm(*(int(multiple.scaleb(digits)) for multiple in multiples))
