"""The contract of a model file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from realizar.errors import FormatError
from realizar.model import ModelConfig, ModelFile
from realizar.progress import Progress, silent


class Format(ABC):
    """Recognizes and opens one family of model files."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    writable: ClassVar[frozenset[str]] = frozenset()
    """Names of the element types that it can store; empty: it cannot write."""

    holds_prepacked: ClassVar[bool] = False
    """Whether files can hold `ModelFile.prepacked`."""

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

    def verify(self, path: Path) -> Iterable[str]:
        """What is wrong with a file's checksums or whatever else `open` does not look at; nothing by default."""
        return ()

    def stored_together(self, config: ModelConfig) -> Sequence[Sequence[str]]:
        """Parts of layers ("self_attn.q_proj") that a file of such a model holds in one tensor, so of one type."""
        return ()

    def write(self, path: Path, model: ModelFile, progress: Progress = silent) -> None:
        """Write `model` to `path`, which appears only when it is complete; raises FormatError for what it cannot hold.

        Tensors are read one after another and released, so memory holds one at a time.
        """
        raise FormatError(f"{path}: {self.name} files cannot be written, only read")
