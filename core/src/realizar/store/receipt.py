"""The receipt beside a model's files: what they are and when they came."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import attrs

from realizar.errors import StoreError
from realizar.store.cache import sync_folder
from realizar.store.pins import RECEIPT, Pin, is_plain_path
from realizar.store.strict import structure

_MAX_NBYTES = 1 << 20


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@attrs.frozen
class Receipt:
    """What was pulled: the name it was asked for by, who gave it, every file, the time in ISO 8601, UTC.

    file: the one to open; empty for the folder. folder: absolute, where the files are if not beside the receipt.
    """

    name: str
    origin: str
    files: Mapping[str, Pin]
    file: str = ""
    folder: str = ""
    pulled_at: str = attrs.field(factory=_now)

    def __attrs_post_init__(self) -> None:
        for name in self.files:
            if not is_plain_path(name):
                raise ValueError(f"files: must be below their folder under plain names, found {name!r}")
        if self.file and self.file not in self.files:
            raise ValueError(f"file: {self.file!r} is not among the files")

    def home(self, beside: Path) -> Path:
        """The folder of the files, for a receipt in the folder `beside`."""
        return Path(self.folder) if self.folder else beside

    def path(self, beside: Path) -> Path:
        """The file or folder to open, for a receipt in the folder `beside`."""
        return self.home(beside) / self.file


def write_receipt(receipt: Receipt, folder: Path, staging: Path) -> None:
    """Write the receipt of verified files, by way of `staging`, so that it is there whole or not at all."""
    draft = staging / RECEIPT
    with draft.open("w", encoding="utf-8") as file:
        json.dump(attrs.asdict(receipt), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, folder / RECEIPT)
    sync_folder(folder)


def read_receipt(folder: Path) -> Receipt | None:
    """The folder's receipt, None if there is none; raises StoreError if it cannot be understood."""
    path = folder / RECEIPT
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
