"""Finding, listing and removing models: everything that needs no network."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Literal

import attrs

from realizar.errors import StoreError
from realizar.progress import Progress, silent
from realizar.store.cache import locked, model_folder, model_path
from realizar.store.catalog import Alias, Catalog, find_alias, shipped_catalog
from realizar.store.checksum import verify
from realizar.store.pulling import pull
from realizar.store.receipt import FILE_NAME, Receipt, read_receipt

_log = logging.getLogger(__name__)


@attrs.frozen
class StoredModel:
    """One alias and the state of its file.

    status: absent (not pulled), ready, or damaged; detail says why it is damaged, else it is empty.
    """

    alias: Alias
    path: Path
    status: Literal["absent", "ready", "damaged"]
    detail: str = ""
    receipt: Receipt | None = None


def resolve(
    model: str, *, allow_download: bool, progress: Progress | None = None, catalog: Catalog | None = None
) -> Path:
    """The file or folder that `model` means: a path, or an alias's file in the cache.

    What exists on disk or contains a path separator is a path, even if an alias has that name.
    allow_download: pull an alias that is absent or damaged; otherwise that is an error with the command to type.
    Raises StoreError if the path does not exist, the alias is unknown, or the pull fails.
    """
    path = _existing(model)
    if path is not None:
        return path
    aliases = shipped_catalog() if catalog is None else catalog
    if _looks_like_path(model, aliases):
        raise StoreError(f"{model!r}: no such file; a model is a path or one of: {', '.join(sorted(aliases))}")
    stored = _inspect(_alias_or_path(model, aliases))
    if stored.status == "ready":
        return stored.path
    if not allow_download:
        problem = stored.detail or f"{model} has not been pulled yet"
        raise StoreError(f"{problem}; get it with `realizar pull {model}`")
    if stored.status == "damaged":
        _log.warning("%s; pulling it again", stored.detail)
    return pull(model, progress, catalog=aliases)


def list_models(*, catalog: Catalog | None = None) -> list[StoredModel]:
    """Every known model and its state, by name."""
    aliases = shipped_catalog() if catalog is None else catalog
    return [_inspect(aliases[name]) for name in sorted(aliases)]


def show(
    name: str, *, check_sha256: bool = False, progress: Progress | None = None, catalog: Catalog | None = None
) -> StoredModel:
    """One model and its state; by default from receipt and size, with `check_sha256` from all its bytes."""
    stored = _inspect(find_alias(name, shipped_catalog() if catalog is None else catalog))
    if stored.status != "ready" or not check_sha256:
        return stored
    try:
        verify(stored.path, size=stored.alias.size, sha256=stored.alias.sha256, progress=progress or silent)
    except StoreError as error:
        return attrs.evolve(stored, status="damaged", detail=str(error))
    return stored


def remove(name: str, progress: Progress | None = None, *, catalog: Catalog | None = None) -> int:
    """Delete a model from the cache and return the bytes freed; raises StoreError if it is not there."""
    alias = find_alias(name, shipped_catalog() if catalog is None else catalog)
    folder = model_folder(alias)
    try:
        with locked(alias, progress or silent):
            if not folder.is_dir():
                raise StoreError(f"{name} is not in the cache ({folder})")
            nbytes = sum(path.stat().st_size for path in folder.iterdir())
            # The receipt first: what an interruption leaves behind must not look whole.
            (folder / FILE_NAME).unlink(missing_ok=True)
            shutil.rmtree(folder)
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


def _alias_or_path(model: str, catalog: Catalog) -> Alias:
    try:
        return find_alias(model, catalog)
    except StoreError as error:
        raise StoreError(f"{error}; nor is there a file of that name") from error


def _inspect(alias: Alias) -> StoredModel:
    """The state of a model by its receipt and the size of its file, which is quick and needs no hashing."""
    path = model_path(alias)
    try:
        receipt = read_receipt(path.parent)
    except StoreError as error:
        return StoredModel(alias, path, "damaged", str(error))
    if receipt is None:
        # Nothing, or the remains of an interrupted pull or removal, which the next pull completes.
        return StoredModel(alias, path, "absent")
    problem = _mismatch(alias, receipt, path)
    return StoredModel(alias, path, "damaged" if problem else "ready", problem, receipt)


def _mismatch(alias: Alias, receipt: Receipt, path: Path) -> str:
    if not receipt.matches(alias):
        return f"{path}: pulled as {receipt.distribution} {receipt.version}, which {alias.name} no longer means"
    if not path.is_file():
        return f"{path}: the file is gone, its receipt is there"
    found = path.stat().st_size
    return "" if found == alias.size else f"{path}: has {found} bytes, expected {alias.size}"
