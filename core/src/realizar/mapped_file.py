"""A file mapped read-only into memory."""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from pathlib import Path

from realizar.errors import FormatError


class MappedFile:
    """The bytes of `path`; raises FormatError if it is no readable, non-empty regular file.

    expected: what the file should begin with, for the message about one that has nothing.
    """

    def __init__(self, path: Path, expected: str) -> None:
        self.path = path
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # asked first: opening a pipe would wait for a writer
                raise FormatError(f"{path}: offset 0: found no regular file, expected one that begins with {expected}")
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size == 0:
                    raise FormatError(f"{path}: offset 0: found an empty file, expected {expected}")
                self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise FormatError(f"{path}: cannot be opened: {error}") from error
        self._view: memoryview | None = memoryview(self._map)

    @property
    def view(self) -> memoryview:
        """All bytes, read-only; raises FormatError once the file is closed."""
        if self._view is None:
            raise FormatError(f"{self.path}: the model file is closed; read its tensors before close()")
        return self._view

    def release(self, offset: int, nbytes: int) -> None:
        """Drop the pages of a range from this process's memory, where the system can; a later read maps them again."""
        if self._view is not None and hasattr(mmap, "MADV_DONTNEED"):
            start = offset // mmap.PAGESIZE * mmap.PAGESIZE
            with contextlib.suppress(OSError):  # pages locked in memory stay there, and nothing is wrong
                self._map.madvise(mmap.MADV_DONTNEED, start, offset + nbytes - start)

    def close(self) -> None:
        """Release the mapping, or leave it to the last array that still points into it."""
        self._view = None
        with contextlib.suppress(BufferError):
            self._map.close()
