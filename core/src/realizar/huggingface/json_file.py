"""JSON files of strangers: bounded, strict, and always an object."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from realizar.errors import FormatError

MAX_CONTAINERS = 1 << 21
MAX_VALUES = 1 << 22
"""Objects and arrays, and values in all of them; the largest tokenizer.json in use has a third of either."""


def read_json(path: Path, max_nbytes: int) -> dict[str, Any]:
    """The object that `path` holds; raises FormatError.

    Refused before anything is built: more than `max_nbytes` bytes, MAX_CONTAINERS or MAX_VALUES, and bytes that are not
    UTF-8; then keys that come twice in an object, nesting too deep for Python, and anything but an object.
    """
    text = read_text(path, max_nbytes)
    _prove_bounds(text, path)
    try:
        values = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, path))
    except ValueError as error:
        raise FormatError(f"{path}: is no valid JSON: {error}; is the download complete?") from None
    except RecursionError:
        raise FormatError(f"{path}: is nested too deeply, expected at most a few hundred levels") from None
    if not isinstance(values, dict):
        raise FormatError(f"{path}: found a JSON {type(values).__name__}, expected an object")
    return values


def read_text(path: Path, max_nbytes: int) -> str:
    """A text file in UTF-8 of at most `max_nbytes` bytes; raises FormatError."""
    try:
        return read_bytes(path, max_nbytes).decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        raise FormatError(f"{path}: offset {error.start}: found {found}, expected UTF-8") from None


def read_bytes(path: Path, max_nbytes: int) -> bytes:
    """A file of at most `max_nbytes` bytes; raises FormatError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # asked first: opening a pipe would wait for a writer
            raise FormatError(f"{path}: found no regular file, expected a file of bytes")
        if status.st_size > max_nbytes:
            raise FormatError(f"{path}: found {status.st_size} bytes, expected at most {max_nbytes}")
        with open(path, "rb") as file:
            return file.read(status.st_size)
    except OSError as error:
        raise FormatError(f"{path}: cannot be opened: {error}") from error


def _prove_bounds(text: str, path: Path) -> None:
    """Brackets and commas inside strings count too, which only makes the bounds stricter."""
    containers, commas = text.count("[") + text.count("{"), text.count(",")
    if containers > MAX_CONTAINERS or commas > MAX_VALUES:
        raise FormatError(
            f"{path}: found {containers} brackets and {commas} commas, "
            f"expected at most {MAX_CONTAINERS} and {MAX_VALUES}"
        )


def _object(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if keys.index(key) != i)
        raise FormatError(f"{path}: found key {twice!r} twice in one object, expected each key once")
    return values
