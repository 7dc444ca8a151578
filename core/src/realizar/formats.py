"""The contract of a model file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from realizar.model import ModelFile


class Format(ABC):
    """Recognizes and opens one family of model files."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0

    @abstractmethod
    def sniff(self, path: Path, head: bytes) -> int:
        """How sure this format is that it can open `path`: 0 not mine, 50 by extension, 100 by magic number.

        head: the first 4096 bytes, fewer if the file is shorter, empty for a directory.
        """

    @abstractmethod
    def open(self, path: Path) -> ModelFile:
        """Read the header and map the rest; raises FormatError and nothing else for a bad file.

        Sizes are proven against the file before anything is allocated from them.
        """
