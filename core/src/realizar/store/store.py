"""Finding, listing and removing models: everything that needs no network."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import attrs

from realizar.errors import StoreError
from realizar.progress import Progress, silent
from realizar.store.cache import locked, model_folder, models_folder
from realizar.store.catalog import Catalog, find_alias, shipped_catalog
from realizar.store.checksum import verify
from realizar.store.hub import forget_files
from realizar.store.names import find_source, has_scheme
from realizar.store.pins import RECEIPT
from realizar.store.pulling import pull
from realizar.store.receipt import Receipt, read_receipt
from realizar.store.source import Source

_log = logging.getLogger(__name__)


@attrs.frozen
class StoredModel:
    """One model and the state of its files.

    path: the file or folder to open. status: absent (not pulled), ready, or damaged; detail says why it is damaged,
    or what could not be checked, else it is empty. receipt: None for a model that is absent, or that another program
    brought.
    """

    source: Source
    path: Path
    status: Literal["absent", "ready", "damaged"]
    detail: str = ""
    receipt: Receipt | None = None

    @property
    def name(self) -> str:
        """What people type."""
        return self.source.name

    @property
    def size(self) -> int | None:
        """Bytes of all its files, None if that is not known yet."""
        pins = self.receipt.files if self.receipt else self.source.pins(None)
        return None if pins is None else sum(pin.size for pin in pins.values())


def resolve(
    model: str, *, allow_download: bool, progress: Progress | None = None, catalog: Catalog | None = None
) -> Path:
    """The file or folder that `model` means: a path, or what an alias, hf:// or https:// name has in the cache.

    What exists on disk or contains a path separator is a path, even if an alias has that name.
    allow_download: pull a model that is absent or damaged; otherwise that is an error with the command to type.
    Raises StoreError if the path does not exist, the name is unknown, or the pull fails.
    """
    aliases = shipped_catalog() if catalog is None else catalog
    path = None if has_scheme(model) else _existing(model)
    if path is not None:
        return path
    if not has_scheme(model) and _looks_like_path(model, aliases):
        raise StoreError(f"{model!r}: no such file; a model is a path or one of: {', '.join(sorted(aliases))}")
    stored = _inspect(_source_or_path(model, aliases))
    if stored.status == "absent" and not allow_download:
        stored = _elsewhere(stored)
    if stored.status == "ready":
        return stored.path
    if not allow_download:
        problem = stored.detail or f"{model} has not been pulled yet"
        raise StoreError(f"{problem}; get it with `realizar pull {shlex.quote(model)}`")
    if stored.status == "damaged":
        _log.warning("%s; pulling it again", stored.detail)
    return pull(model, progress, catalog=aliases)


def list_models(*, catalog: Catalog | None = None) -> list[StoredModel]:
    """Every alias and its state, by name; then what was pulled by hf:// and https:// names."""
    aliases = shipped_catalog() if catalog is None else catalog
    named = [_inspect(aliases[name]) for name in sorted(aliases)]
    return [*named, *sorted(_pulled_by_address(aliases), key=lambda stored: stored.name)]


def show(
    name: str, *, check_sha256: bool = False, progress: Progress | None = None, catalog: Catalog | None = None
) -> StoredModel:
    """One model and its state; by default from receipt and sizes, with `check_sha256` from all its bytes."""
    stored = _inspect(find_source(name, shipped_catalog() if catalog is None else catalog))
    if stored.status == "absent":
        stored = _elsewhere(stored)
    if stored.status != "ready" or not check_sha256:
        return stored
    if stored.receipt is None:
        problem = f"another program brought it, so no hashes are known; `realizar pull {shlex.quote(name)}` learns them"
        return attrs.evolve(stored, detail=problem)
    home = stored.receipt.home(model_folder(stored.source.key))
    try:
        for file, pin in stored.receipt.files.items():
            verify(home / file, size=pin.size, sha256=pin.sha256, progress=progress or silent)
    except StoreError as error:
        return attrs.evolve(stored, status="damaged", detail=str(error))
    return stored


def remove(name: str, progress: Progress | None = None, *, catalog: Catalog | None = None) -> int:
    """Delete a model from the cache and return the bytes freed; raises StoreError if it is not there."""
    source = find_source(name, shipped_catalog() if catalog is None else catalog)
    folder = model_folder(source.key)
    try:
        with locked(source.key, progress or silent):
            if not folder.is_dir():
                raise StoreError(f"{name} is not in the cache ({folder})")
            receipt = _inspect(source).receipt
            nbytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            # The receipt first: what an interruption leaves behind must not look whole.
            (folder / RECEIPT).unlink(missing_ok=True)
            shutil.rmtree(folder)
            if receipt is not None and receipt.folder:
                nbytes += forget_files(receipt)
    except OSError as error:
        raise StoreError(f"{folder}: cannot remove {name}: {error}") from error
    return nbytes


def _existing(model: str) -> Path | None:
    try:
        path = Path(model).expanduser()
        return path if model and path.exists() else None
    except (OSError, RuntimeError) as error:
        # A name too long for the file system, a folder that may not be entered, a ~user who is not there.
        raise StoreError(f"{model[:80]!r}: cannot be looked up as a path: {error}") from error


def _looks_like_path(model: str, catalog: Catalog) -> bool:
    separated = any(separator in model for separator in ("/", os.sep, os.altsep) if separator)
    return separated or (model not in catalog and bool(Path(model).suffix))


def _source_or_path(model: str, catalog: Catalog) -> Source:
    if has_scheme(model):
        return find_source(model, catalog)
    try:
        return find_alias(model, catalog)
    except StoreError as error:
        raise StoreError(f"{error}; nor is there a file of that name") from error


def _inspect(source: Source) -> StoredModel:
    """The state of a model by its receipt and the sizes of its files, which is quick and needs no hashing."""
    folder = model_folder(source.key)
    try:
        receipt = read_receipt(folder)
    except StoreError as error:
        return StoredModel(source, folder / source.file, "damaged", str(error))
    if receipt is None:
        # Nothing, or the remains of an interrupted removal, which the next pull completes.
        return StoredModel(source, folder / source.file, "absent")
    problem = _mismatch(source, receipt, folder)
    return StoredModel(source, receipt.path(folder), "damaged" if problem else "ready", problem, receipt)


def _mismatch(source: Source, receipt: Receipt, folder: Path) -> str:
    if not source.means(receipt):
        return f"{folder}: pulled as {receipt.origin}, which {source.name} no longer means"
    for name, pin in receipt.files.items():
        path = receipt.home(folder) / name
        if not path.is_file():
            return f"{path}: the file is gone, its receipt is there"
        found = path.stat().st_size
        if found != pin.size:
            return f"{path}: has {found} bytes, expected {pin.size}"
    return ""


def _elsewhere(stored: StoredModel) -> StoredModel:
    """The model where another program keeps it, if it does."""
    path = stored.source.cached()
    return stored if path is None else attrs.evolve(stored, path=path, status="ready")


def _pulled_by_address(aliases: Catalog) -> Iterator[StoredModel]:
    """What lies in the cache under no alias; a receipt that cannot be read is logged, for it names nothing."""
    try:
        folders = [path for path in models_folder().iterdir() if not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return
    for folder in folders:
        if folder.name in aliases:
            continue
        try:
            receipt = read_receipt(folder)
            source = find_source(receipt.name, aliases) if receipt else None
        except StoreError as error:
            _log.warning("%s: not listed: %s", folder, error)
            continue
        if source is not None and source.key == folder.name:
            yield _inspect(source)
