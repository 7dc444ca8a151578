"""The GGUF format: what `plugin` registers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from realizar.formats import Format
from realizar.model import ModelConfig, ModelFile
from realizar.progress import Progress, silent
from realizar_gguf.ggml_types import NUMBERS


class GGUF(Format):
    """GGUF versions 2 and 3, little and big endian, whole or split."""

    name: ClassVar[str] = "gguf"
    writable: ClassVar[frozenset[str]] = frozenset(NUMBERS)

    def sniff(self, path: Path, head: bytes) -> int:
        """100 for the magic number, 50 for the extension, else 0."""
        if head[:4] == b"GGUF":
            return 100
        return 50 if path.suffix.lower() == ".gguf" else 0

    def open(self, path: Path) -> ModelFile:
        """Map the file (all shards of a split one) and read its header; raises FormatError."""
        from realizar_gguf.reader import read_gguf

        return read_gguf(path)

    def stored_together(self, config: ModelConfig) -> Sequence[Sequence[str]]:
        """The projections that the architecture keeps fused."""
        from realizar_gguf.families import architecture_of
        from realizar_gguf.gguf_tensors import PARTS

        return [PARTS[whole] for whole in architecture_of(config)[1].fused]

    def write(self, path: Path, model: ModelFile, progress: Progress = silent) -> None:
        """Write `model` as one file; raises FormatError for an architecture or a tensor that GGUF has no name for."""
        from realizar_gguf.model_writer import write_model

        write_model(path, model, progress)
