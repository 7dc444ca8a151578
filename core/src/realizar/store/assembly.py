"""A model's files on their way to disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store.checksum import CHUNK, check_digest
from realizar.store.pins import Pin


class Assembly:
    """Files that grow part by part, hashed on the way, never larger than pinned."""

    def __init__(self, folder: Path, pins: Mapping[str, Pin], progress: Progress) -> None:
        self._folder, self._pins, self._progress = folder, pins, progress
        self._digests = {name: hashlib.sha256() for name in pins}
        self._sizes = dict.fromkeys(pins, 0)
        self._total = sum(pin.size for pin in pins.values())

    def room(self, name: str) -> int:
        """Bytes that the file still lacks."""
        return self._pins[name].size - self._sizes[name]

    def append(self, name: str, part: IO[bytes], stage: str) -> None:
        """Add all of `part` to the file, synced to disk; raises StoreError before more than the pinned size is there.

        stage: what the progress of it is called.
        """
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as output:
            while chunk := part.read(CHUNK):
                if len(chunk) > self.room(name):
                    raise StoreError(f"{name}: more than the expected {self._pins[name].size} bytes come")
                self._digests[name].update(chunk)
                output.write(chunk)
                self._sizes[name] += len(chunk)
                self._progress(stage, sum(self._sizes.values()), self._total)
            output.flush()
            os.fsync(output.fileno())

    def finish(self) -> None:
        """Check that every file is whole and the pinned one; raises StoreError."""
        for name, pin in self._pins.items():
            if self._sizes[name] != pin.size:
                raise StoreError(f"{name}: has {self._sizes[name]} bytes, expected {pin.size}")
            check_digest(self._digests[name].hexdigest(), pin.sha256, name)
