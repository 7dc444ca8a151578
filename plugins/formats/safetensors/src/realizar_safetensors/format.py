"""The Safetensors format: what `plugin` registers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from realizar.formats import Format
from realizar.model import ModelFile
from realizar.progress import Progress, silent
from realizar_safetensors.header import NAMES


class Safetensors(Format):
    """A .safetensors file, an index of several, or a Hugging Face directory that holds either."""

    name: ClassVar[str] = "safetensors"
    writable: ClassVar[frozenset[str]] = frozenset(NAMES)

    def sniff(self, path: Path, head: bytes) -> int:
        """100 for a plausible header or a directory with such files, 50 for the extension, else 0."""
        from realizar_safetensors.sniffing import sniff

        return sniff(path, head)

    def open(self, path: Path) -> ModelFile:
        """Map the files and read their headers and the JSON files beside them; raises FormatError."""
        from realizar_safetensors.reader import read_model

        return read_model(path)

    def write(self, path: Path, model: ModelFile, progress: Progress = silent) -> None:
        """Write `model` as the directory `path`; raises FormatError for a family that is not written."""
        from realizar_safetensors.directory_writer import write_directory

        write_directory(path, model, progress)
