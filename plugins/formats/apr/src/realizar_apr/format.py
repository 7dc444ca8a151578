"""The APR format, as the host sees it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from realizar.formats import Format
from realizar.model import ModelFile
from realizar.progress import Progress, silent
from realizar_apr.codes import WRITABLE


class APR(Format):
    """APR version 2, under either of its magic numbers."""

    name: ClassVar[str] = "apr"
    writable: ClassVar[frozenset[str]] = WRITABLE
    holds_prepacked: ClassVar[bool] = True

    def sniff(self, path: Path, head: bytes) -> int:
        """100 for the magic number of any APR layout, also of those that `open` refuses; 50 for the extension."""
        from realizar_apr.variants import MAGICS

        if head[:4] in MAGICS:
            return 100
        return 50 if path.suffix.lower() == ".apr" else 0

    def open(self, path: Path) -> ModelFile:
        """Map the file, read its header and check that one's checksum; raises FormatError."""
        from realizar_apr.reader import read_apr

        return read_apr(path)

    def verify(self, path: Path) -> Iterable[str]:
        """Whether the file's own checksum, behind the last tensor, fits its bytes."""
        from realizar_apr.trailer import verify_trailer

        return verify_trailer(path)

    def write(self, path: Path, model: ModelFile, progress: Progress = silent) -> None:
        """Write an APR 2.0 file in aprender's form; raises FormatError for what it cannot hold."""
        from realizar_apr.writer import write_apr

        write_apr(path, model, progress)
