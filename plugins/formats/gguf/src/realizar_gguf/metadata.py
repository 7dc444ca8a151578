"""Keys and typed values. Source: GGUF specification, "gguf_metadata_value_type"."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import IntEnum

import attrs
import numpy as np

from realizar.errors import FormatError
from realizar_gguf.arrays import LazyArray, NumberArray, read_strings
from realizar_gguf.cursor import Cursor, malformed

METADATA_OFFSET = 24
MAX_KEY_NBYTES = (1 << 16) - 1
MAX_STRING_NBYTES = 1 << 28
MAX_ARRAY_LENGTH = 1 << 24
MAX_STRINGS = 1 << 22
"""Strings in all arrays of a file together; the largest vocabulary known has 0.8 million with its merges."""


class ValueType(IntEnum):
    """What a metadata value is."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


CODES: dict[ValueType, str] = dict(zip(ValueType, "BbHhIif?..Qqd", strict=True))
"""The `struct` letter of each type of fixed size."""
INTEGERS = {kind for kind, code in CODES.items() if code in "BbHhIiQq"}
FLOATS = {ValueType.FLOAT32, ValueType.FLOAT64}


@attrs.frozen
class Entry:
    """One value: its type (of the elements, for an array) and the offset of its bytes."""

    value: object
    type: ValueType
    is_array: bool
    offset: int

    def __str__(self) -> str:
        return f"an array of {self.type.name}" if self.is_array else f"{self.type.name} {self.value!r}"


class Metadata(Mapping[str, object]):
    """All values of a file by key, with typed access whose errors name the offset."""

    def __init__(self, file: str, entries: Mapping[str, Entry]) -> None:
        self.file = file
        self.entries = entries

    def __getitem__(self, key: str) -> object:
        return self.entries[key].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def error(self, key: str, expected: str) -> FormatError:
        """A FormatError at the value of `key`."""
        entry = self.entries[key]
        return malformed(self.file, entry.offset, f"{key} = {entry}", expected)

    def missing(self, key: str, expected: str) -> FormatError:
        """A FormatError where the keys begin, because `key` is not among them."""
        return malformed(self.file, METADATA_OFFSET, f"no key {key}", expected)

    def string(self, key: str) -> str | None:
        """A STRING, or None without that key."""
        value = self._scalar(key, {ValueType.STRING}, "a STRING")
        return None if value is None else str(value)

    def boolean(self, key: str) -> bool | None:
        """A BOOL, or None without that key."""
        value = self._scalar(key, {ValueType.BOOL}, "a BOOL")
        return None if value is None else bool(value)

    def integer(self, key: str, low: int, high: int) -> int | None:
        """An integer of any width within [low, high], or None without that key."""
        value = self._scalar(key, INTEGERS, f"an integer from {low} to {high}")
        if value is None:
            return None
        assert isinstance(value, int)
        if not low <= value <= high:
            raise self.error(key, f"an integer from {low} to {high}")
        return value

    def number(self, key: str, low: float = 0.0) -> float | None:
        """A finite FLOAT32 or FLOAT64 above `low`, or None without that key."""
        value = self._scalar(key, FLOATS, f"a number above {low}")
        if value is None:
            return None
        assert isinstance(value, float)
        if not (math.isfinite(value) and value > low):
            raise self.error(key, f"a finite number above {low}")
        return value

    def array(self, key: str, type_: ValueType) -> LazyArray[object] | None:
        """An array with elements of `type_`, or None without that key."""
        if key not in self.entries:
            return None
        entry = self.entries[key]
        if not entry.is_array or entry.type is not type_:
            raise self.error(key, f"an array of {type_.name}")
        assert isinstance(entry.value, LazyArray)
        return entry.value

    def _scalar(self, key: str, types: set[ValueType], expected: str) -> object:
        if key not in self.entries:
            return None
        entry = self.entries[key]
        if entry.is_array or entry.type not in types:
            raise self.error(key, expected)
        return entry.value


def read_metadata(cursor: Cursor, num_keys: int) -> Metadata:
    """`num_keys` key-value pairs; keys are unique and not empty."""
    entries: dict[str, Entry] = {}
    num_strings = 0
    for index in range(num_keys):
        at = cursor.position
        key = cursor.string(f"key {index}", limit=MAX_KEY_NBYTES)
        if not key:
            raise cursor.error(f"key {index} with an empty name", "a name", at)
        if key in entries:
            raise cursor.error(f"key {key!r} a second time", "each key once", at)
        entry = _read_value(cursor, key, MAX_STRINGS - num_strings)
        if entry.is_array and entry.type is ValueType.STRING:
            num_strings += len(entry.value)  # type: ignore[arg-type]
        entries[key] = entry
    return Metadata(cursor.file, entries)


def _read_type(cursor: Cursor, what: str) -> ValueType:
    at = cursor.position
    number = cursor.u32(f"the type of {what}")
    try:
        return ValueType(number)
    except ValueError:
        raise cursor.error(f"value type {number} for {what}", f"0 to {max(ValueType)}", at) from None


def _read_value(cursor: Cursor, key: str, strings_left: int) -> Entry:
    type_ = _read_type(cursor, key)
    if type_ is ValueType.ARRAY:
        return _read_array(cursor, key, strings_left)
    at = cursor.position
    if type_ is ValueType.STRING:
        return Entry(cursor.string(f"value of {key}", limit=MAX_STRING_NBYTES), type_, False, at)
    if type_ is ValueType.BOOL:
        return Entry(bool(_proven_truth(cursor, int(cursor.scalar("B", key)), key, at)), type_, False, at)
    return Entry(cursor.scalar(CODES[type_], key), type_, False, at)


def _proven_truth(cursor: Cursor, largest: int, key: str, at: int) -> int:
    if largest > 1:
        raise cursor.error(f"BOOL {key} with byte {largest}", "0 or 1", at)
    return largest


def _read_array(cursor: Cursor, key: str, strings_left: int) -> Entry:
    """Element type u32, count u64, elements; arrays of arrays are refused."""
    at = cursor.position
    type_ = _read_type(cursor, f"the elements of {key}")
    if type_ is ValueType.ARRAY:
        raise cursor.error(f"an array of arrays in {key}", "an array of numbers, truth values or strings", at)
    at = cursor.position
    if type_ is ValueType.STRING:
        count = cursor.count(f"array length of {key}", limit=strings_left, item_nbytes=8)
        return Entry(read_strings(cursor, count, key), type_, True, at)
    stored = np.dtype(CODES[type_]).newbyteorder(cursor.prefix)
    count = cursor.count(f"array length of {key}", limit=MAX_ARRAY_LENGTH, item_nbytes=stored.itemsize)
    values = np.frombuffer(cursor.data, stored, count, cursor.position)
    if type_ is ValueType.BOOL and count:
        _proven_truth(cursor, int(values.view(np.uint8).max()), key, cursor.position)
    cursor.position += values.nbytes
    return Entry(NumberArray(values), type_, True, at)
