"""JSON files of strangers: bounded and strict."""

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
    """The object that `path` holds; raises FormatError as `read_values` does, and for anything but an object."""
    return parse_json(read_text(path, max_nbytes), str(path))


def read_values(path: Path, max_nbytes: int) -> Any:
    """What `path` holds; raises FormatError.

    Refused before anything is built: more than `max_nbytes` bytes, MAX_CONTAINERS or MAX_VALUES, and bytes that are not
    UTF-8; then keys that come twice in an object, and nesting too deep for Python.
    """
    return parse_values(read_text(path, max_nbytes), str(path))


def parse_json(text: str, source: str) -> dict[str, Any]:
    """The object that `text` holds, within the same bounds; source: where it is from, for errors."""
    values = parse_values(text, source)
    if not isinstance(values, dict):
        raise FormatError(f"{source}: found a JSON {type(values).__name__}, expected an object")
    return values


def parse_values(text: str, source: str) -> Any:
    """What `text` holds, within the same bounds."""
    _prove_bounds(text, source)
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, source))
    except ValueError as error:
        raise FormatError(f"{source}: is no valid JSON: {error}; is the download complete?") from None
    except RecursionError:
        raise FormatError(f"{source}: is nested too deeply, expected at most a few hundred levels") from None


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


def _prove_bounds(text: str, source: str) -> None:
    """Brackets and commas inside strings count too, which only makes the bounds stricter."""
    containers, commas = text.count("[") + text.count("{"), text.count(",")
    if containers > MAX_CONTAINERS or commas > MAX_VALUES:
        raise FormatError(
            f"{source}: found {containers} brackets and {commas} commas, "
            f"expected at most {MAX_CONTAINERS} and {MAX_VALUES}"
        )


def _object(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if keys.index(key) != i)
        raise FormatError(f"{source}: found key {twice!r} twice in one object, expected each key once")
    return values
