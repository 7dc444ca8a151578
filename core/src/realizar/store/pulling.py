"""Bringing a model into the cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from realizar.errors import StoreError
from realizar.progress import Progress, silent
from realizar.store.cache import locked, model_folder, staging_folder, sync_folder
from realizar.store.catalog import Catalog, shipped_catalog
from realizar.store.checksum import verify
from realizar.store.names import find_source
from realizar.store.pins import RECEIPT, Pin
from realizar.store.receipt import Receipt, read_receipt, write_receipt
from realizar.store.source import Source


def pull(name: str, progress: Progress | None = None, *, catalog: Catalog | None = None) -> Path:
    """Make sure that the model is in the cache, whole and verified, and return its path.

    Files already there are hashed, not trusted; only if they are not the pinned ones is anything downloaded.
    Two processes may pull at once: the second waits, then finds the files of the first. A pull killed at any
    point leaves at most a staging folder, which the next pull of this model removes.
    Raises StoreError for an unknown name, a failed download, a wrong file, a full disk.
    """
    source = find_source(name, shipped_catalog() if catalog is None else catalog)
    report = progress or silent
    folder = model_folder(source.key)
    try:
        with locked(source.key, report):
            return _pull_locked(source, folder, report).path(folder)
    except OSError as error:
        raise StoreError(f"{folder}: cannot keep {name} there: {error}") from error


def _pull_locked(source: Source, folder: Path, progress: Progress) -> Receipt:
    staging = _fresh_staging(source.key)
    try:
        receipt = _receipt(source, folder)
        pins = source.pins(receipt)
        if pins is None or not all(_is_whole(folder / name, pin, progress) for name, pin in pins.items()):
            draft = staging / "model"
            draft.mkdir()
            receipt = source.fetch(staging, draft, progress)
            write_receipt(receipt, draft, staging)
            _put_in_place(draft, folder)
        elif receipt is None:
            receipt = Receipt(source.name, source.origin, pins, source.file)
            write_receipt(receipt, folder, staging)
        return receipt
    finally:
        _clear(staging_folder(source.key))


def _fresh_staging(key: str) -> Path:
    """An empty folder to work in. The lock is held, so any other staging of this model belongs to a dead process."""
    parent = staging_folder(key)
    _clear(parent)
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent))


def _clear(folder: Path) -> None:
    # A dead pull's pip may be a moment behind it and still write; what resists now is cleared by the next pull.
    shutil.rmtree(folder, ignore_errors=True)


def _receipt(source: Source, folder: Path) -> Receipt | None:
    """The receipt of what is there, if it is what the source means."""
    try:
        receipt = read_receipt(folder)
    except StoreError:
        # A damaged receipt: the files themselves decide, and it is written anew.
        return None
    return receipt if receipt is not None and source.means(receipt) else None


def _is_whole(path: Path, pin: Pin, progress: Progress) -> bool:
    if not path.is_file() or path.stat().st_size != pin.size:
        return False
    try:
        verify(path, size=pin.size, sha256=pin.sha256, progress=progress)
    except StoreError:
        # Damaged on disk: pulling again is the answer.
        return False
    return True


def _put_in_place(draft: Path, folder: Path) -> None:
    """Files and receipt come in one rename; the receipt of what was there before goes first."""
    (folder / RECEIPT).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    os.rename(draft, folder)
    sync_folder(folder.parent)
