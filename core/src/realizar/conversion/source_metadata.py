"""What a model's first file said about it, carried through formats that have no such keys of their own.

A format without typed keys stores `packed(model)` as a text under the name KEY; whoever writes the first format again
finds the keys with `source_metadata`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from realizar.errors import FormatError
from realizar.model import ModelFile

KEY = "realizar.source"
RETYPED = "realizar.retyped"
"""Under this name stands the type or mix that a model's weights have been changed to since the file was opened."""
MAX_ELEMENTS = 4096
"""Longer arrays belong to the vocabulary, which the tokenizer's own files hold."""
MAX_NBYTES = 1 << 22


def packed(model: ModelFile) -> str | None:
    """The keys as JSON with the format they come from, None where there is nothing to carry or too much of it."""
    if KEY in model.metadata:
        text = str(model.metadata[KEY])
    else:
        keys = {key: _plain(value) for key, value in model.metadata.items() if key != RETYPED}
        text = json.dumps({"format": model.format, "keys": keys}, ensure_ascii=False)
    return text if model.metadata and len(text.encode("utf-8", "replace")) <= MAX_NBYTES else None


def source_metadata(model: ModelFile, name: str) -> dict[str, Any]:
    """The keys of the file of format `name` that the model is, or once was; None for arrays that were left out.

    Empty if it never was one; raises FormatError for a text that `packed` did not write.
    """
    if model.format == name:
        return dict(model.metadata)
    text = model.metadata.get(KEY)
    if not isinstance(text, str) or len(text) > MAX_NBYTES:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{model.path}: {KEY}: found no JSON: {error}") from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, dict):
        raise FormatError(f"{model.path}: {KEY}: found no keys, expected an object with format and keys")
    return keys if found.get("format") == name else {}


def retyped(model: ModelFile) -> str | None:
    """The type or mix that the weights have been changed to, None if they are as the file has them."""
    found = model.metadata.get(RETYPED)
    return None if found is None else str(found)


def _plain(value: object) -> Any:
    """A value as JSON has it, None for one that is left out."""
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)) and len(value) <= MAX_ELEMENTS:
        return [_plain(item) for item in value]
    return None
