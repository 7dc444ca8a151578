"""The keys of one architecture, with a record of which were understood."""

from __future__ import annotations

from realizar.errors import FormatError
from realizar_gguf.arrays import NumberArray
from realizar_gguf.metadata import INTEGERS, Metadata, ValueType

MAX_SIZE = (1 << 31) - 1


class Incomplete(Exception):
    """The file does not describe a model that ModelConfig can express; says which key is why."""


class Keys:
    """The keys of one architecture; remembers which were understood."""

    def __init__(self, metadata: Metadata, architecture: str) -> None:
        self.metadata = metadata
        self.architecture = architecture
        self.understood: set[str] = set()

    def error(self, key: str, expected: str) -> FormatError:
        return self.metadata.error(f"{self.architecture}.{key}", expected)

    def size(self, key: str, low: int = 1) -> int | None:
        """An integer from `low` to 2^31 - 1; an array of one number for all layers counts as that number."""
        full = self._understand(key)
        entry = self.metadata.entries.get(full)
        if entry is None or not entry.is_array:
            return self.metadata.integer(full, low, MAX_SIZE)
        if entry.type not in INTEGERS or not isinstance(entry.value, NumberArray):
            raise self.error(key, "an integer, or an array of integers, one for each layer")
        distinct = set(entry.value)
        if len(distinct) != 1:
            raise Incomplete(f"{full} varies from layer to layer")
        (value,) = distinct
        if not low <= value <= MAX_SIZE:
            raise self.error(key, f"integers from {low} to {MAX_SIZE}")
        return int(value)

    def required(self, key: str) -> int:
        value = self.size(key)
        if value is None:
            raise Incomplete(f"the file has no key {self.architecture}.{key}")
        return value

    def number(self, key: str) -> float | None:
        return self.metadata.number(self._understand(key))

    def string(self, key: str) -> str | None:
        return self.metadata.string(self._understand(key))

    def truth(self, key: str) -> bool | None:
        return self.metadata.boolean(self._understand(key))

    def ignore(self, key: str) -> None:
        """Count a key as understood that says nothing about what a model computes."""
        self._understand(key)

    def flags(self, key: str, count: int) -> list[bool] | None:
        """A truth value for each of `count` layers; a number n stands for n - 1 true ones and a false one, repeated."""
        full = self._understand(key)
        entry = self.metadata.entries.get(full)
        if entry is None or not entry.is_array:
            period = self.metadata.integer(full, 1, MAX_SIZE)
            return None if period is None else [bool((i + 1) % period) for i in range(count)]
        if entry.type is not ValueType.BOOL or not isinstance(entry.value, NumberArray) or len(entry.value) < count:
            raise self.error(key, f"an array of {count} truth values, one for each layer")
        return list(entry.value)[:count]

    def unknown(self) -> tuple[str, ...]:
        prefix = f"{self.architecture}."
        return tuple(sorted(key for key in self.metadata if key.startswith(prefix) and key not in self.understood))

    def _understand(self, key: str) -> str:
        full = f"{self.architecture}.{key}"
        self.understood.add(full)
        return full
