"""Python values as GGUF metadata bytes.

A Python value chooses its type: bool is BOOL, str STRING, float FLOAT32; int is the first of UINT32, INT32, UINT64,
INT64 that holds it, but INT32 comes first inside a sequence (as tokenizer.ggml.token_type wants). A NumPy array
keeps its element type. `Typed` overrules all of this, and an empty sequence needs it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import attrs
import numpy as np

from realizar.errors import FormatError
from realizar_gguf.arrays import LazyArray
from realizar_gguf.metadata import CODES, MAX_KEY_NBYTES, Metadata, ValueType


@attrs.frozen
class Typed:
    """A value, or a sequence of values, of a stated type."""

    type: ValueType
    value: object


SCALAR_INTEGERS = (ValueType.UINT32, ValueType.INT32, ValueType.UINT64, ValueType.INT64)
ELEMENT_INTEGERS = (ValueType.INT32, ValueType.UINT32, ValueType.INT64, ValueType.UINT64)

_NUMPY_TYPES = {np.dtype(code): kind for kind, code in CODES.items() if code != "."}


def unusual_types(metadata: Metadata) -> dict[str, str]:
    """The names of types that differ from those their values choose, by key."""
    found = {}
    for key, entry in metadata.entries.items():
        shown = entry.value[:2] if isinstance(entry.value, LazyArray) else entry.value
        if shown == [] or _typed(shown).type is not entry.type:
            found[key] = entry.type.name
    return found


def encode_string(text: str, prefix: str) -> bytes:
    """A u64 length and UTF-8."""
    encoded = text.encode("utf-8")
    return struct.pack(prefix + "Q", len(encoded)) + encoded


def encode_pair(key: str, value: object, prefix: str) -> bytes:
    """Key, type and value; raises FormatError for a value that GGUF cannot hold."""
    if not key or len(key.encode("utf-8")) > MAX_KEY_NBYTES:
        raise FormatError(f"found a key of {len(key)} characters, expected 1 to {MAX_KEY_NBYTES} bytes")
    try:
        return encode_string(key, prefix) + _encode_value(_typed(value), prefix)
    except (struct.error, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{key}: found {value!r:.200}, which cannot be written: {error}") from error


def _typed(value: object) -> Typed:
    if isinstance(value, Typed):
        return value
    if isinstance(value, np.ndarray):
        return Typed(_NUMPY_TYPES[value.dtype.newbyteorder("=")], value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return Typed(_element_type(value), value)
    return Typed(_type_of(value, [value], SCALAR_INTEGERS), value)


def _element_type(values: Sequence[object]) -> ValueType:
    if not values:
        raise TypeError("an empty sequence has no element type; wrap it in Typed")
    kinds = {type(value) for value in values}
    if len(kinds) > 1:
        raise TypeError(f"mixed elements: {', '.join(sorted(kind.__name__ for kind in kinds))}")
    return _type_of(values[0], values, ELEMENT_INTEGERS)


def _type_of(example: object, values: Sequence[object], integers: tuple[ValueType, ...]) -> ValueType:
    if isinstance(example, bool):
        return ValueType.BOOL
    if isinstance(example, str):
        return ValueType.STRING
    if isinstance(example, float):
        return ValueType.FLOAT32
    if isinstance(example, int):
        return next((kind for kind in integers if _holds(kind, values)), ValueType.INT64)
    raise TypeError(f"no GGUF type for {type(example).__name__}")


def _holds(kind: ValueType, values: Sequence[object]) -> bool:
    bounds = np.iinfo(CODES[kind])
    return all(isinstance(value, int) and bounds.min <= value <= bounds.max for value in values)


def _encode_value(typed: Typed, prefix: str) -> bytes:
    value = typed.value
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        head = struct.pack(prefix + "IIQ", ValueType.ARRAY, typed.type, len(value))
        return head + _encode_elements(typed.type, value, prefix)
    return struct.pack(prefix + "I", typed.type) + _encode_elements(typed.type, [value], prefix)


def _encode_elements(kind: ValueType, values: Sequence[object], prefix: str) -> bytes:
    if kind is ValueType.STRING:
        if not all(isinstance(value, str) for value in values):
            raise TypeError("a STRING must be a str")
        return b"".join(encode_string(str(value), prefix) for value in values)
    return struct.pack(f"{prefix}{len(values)}{CODES[kind]}", *values)
