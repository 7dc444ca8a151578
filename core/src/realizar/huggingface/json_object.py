"""Values of a stranger's JSON, proven to be of a type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from realizar.errors import FormatError

T = TypeVar("T")

_WORDS = {dict: "an object", list: "an array", str: "a string", bool: "true or false", int: "an integer"}


@attrs.frozen
class JsonObject:
    """An object of a file. source: the file and the path to the object in it, for errors."""

    values: Mapping[str, Any]
    source: str

    def get(self, key: str, kind: type[T]) -> T | None:
        """The value of `key`, None where it is absent or null; raises FormatError if it is of another type."""
        value = self.values.get(key)
        if value is None:
            return None
        return proven(value, kind, f"{self.source}: {key}")

    def required(self, key: str, kind: type[T]) -> T:
        """The same, where absence is an error."""
        value = self.get(key, kind)
        if value is None:
            raise FormatError(f"{self.source}: found no {key}, expected {_WORDS[kind]}")
        return value

    def child(self, key: str) -> JsonObject | None:
        """The object under `key`, None where it is absent or null."""
        values = self.get(key, dict)
        return None if values is None else JsonObject(values, f"{self.source}: {key}")

    def children(self, key: str) -> list[JsonObject]:
        """The objects of the array under `key`, none where it is absent or null."""
        found = self.get(key, list) or []
        where = f"{self.source}: {key}"
        return [JsonObject(proven(item, dict, f"{where}[{i}]"), f"{where}[{i}]") for i, item in enumerate(found)]


def proven(value: Any, kind: type[T], where: str) -> T:
    """`value`, which must be of type `kind`; a truth value is no integer."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        shown = repr(value)
        found = shown if len(shown) <= 60 else f"{shown[:60]}..."
        raise FormatError(f"{where}: found {found}, expected {_WORDS[kind]}")
    return value
