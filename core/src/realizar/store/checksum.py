"""Proof that a file is the pinned one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store.stages import VERIFYING

CHUNK = 1 << 20


def verify(path: Path, *, size: int, sha256: str, progress: Progress) -> None:
    """Check size in bytes, then SHA-256; raises StoreError with found and expected."""
    found_size = path.stat().st_size
    if found_size != size:
        raise StoreError(f"{path}: has {found_size} bytes, expected {size}")
    check_digest(digest(path, progress), sha256, str(path))


def digest(path: Path, progress: Progress) -> str:
    """The SHA-256 of a file in lower-case hexadecimal."""
    found, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            done += len(chunk)
            progress(VERIFYING, done, size)
    return found.hexdigest()


def check_digest(found: str, expected: str, what: str) -> None:
    """Raise StoreError unless the digests, lower-case hexadecimal, are equal."""
    if found != expected:
        raise StoreError(f"{what}: SHA-256 is {found}, expected {expected}")
