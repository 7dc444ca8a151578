"""What all sources of models have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from realizar.progress import Progress
from realizar.store.pins import Pin
from realizar.store.receipt import Receipt


class Source(Protocol):
    """What a model's name means: where its files come from and which they are."""

    @property
    def name(self) -> str:
        """What people type."""

    @property
    def key(self) -> str:
        """Its folder in the cache."""

    @property
    def origin(self) -> str:
        """Who gives it: distributions, a host, a repository."""

    @property
    def file(self) -> str:
        """The file to open, relative to the model's folder; empty for the folder itself."""

    def pins(self, receipt: Receipt | None) -> Mapping[str, Pin] | None:
        """The files that it means, as far as that is known without a network; None if it is not."""

    def means(self, receipt: Receipt) -> bool:
        """Whether what was pulled is what it means today."""

    def cached(self) -> Path | None:
        """The model where another program has put it already; no network."""

    def fetch(self, staging: Path, folder: Path, progress: Progress) -> Receipt:
        """Bring the files into `folder`, or say in the receipt where else they are; verified, synced to disk.

        staging: an existing empty folder to work in. Raises StoreError.
        """
