"""Importance matrices in the older format of llama.cpp, *.dat; the newer one is GGUF.

Source: llama.cpp `tools/imatrix/imatrix.cpp`, `save_imatrix_legacy`. All numbers are 32-bit little-endian: how many
entries; for each the length of its name, the name, over how many calls, how many values, the values (means times
calls); then the last chunk, and the length and name of the data set.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from realizar.dtypes import DTYPES
from realizar.formats import Format
from realizar.mapped_file import MappedFile
from realizar.model import ModelFile
from realizar.tensors import Array, LazyTensor
from realizar_gguf.cursor import Cursor
from realizar_gguf.names import canonical_name

MAX_ENTRIES = 1 << 16
MAX_NAME_NBYTES = 1024


class Imatrix(Format):
    """An importance matrix, *.dat; its tensors are named as those of an importance matrix in GGUF."""

    name: ClassVar[str] = "imatrix"

    def sniff(self, path: Path, head: bytes) -> int:
        """50 for the extension and a plausible number of entries; there is no magic number."""
        count = int.from_bytes(head[:4], "little")
        return 50 if path.suffix.lower() == ".dat" and 0 < count <= MAX_ENTRIES else 0

    def open(self, path: Path) -> ModelFile:
        """Read all entries; raises FormatError."""
        file = MappedFile(path, "a number of entries")
        try:
            tensors = _read(Cursor(file.view, path.name))
        finally:
            file.close()
        return ModelFile(path, "imatrix", None, tensors, None, {}, "it is an importance matrix")


def _read(cursor: Cursor) -> dict[str, LazyTensor]:
    tensors: dict[str, LazyTensor] = {}
    for index in range(cursor.count("number of entries", limit=MAX_ENTRIES, item_nbytes=12, code="I")):
        at = cursor.position
        name = cursor.string(f"name {index}", limit=MAX_NAME_NBYTES, code="I")
        calls = max(1, int(cursor.scalar("i", f"the calls of {name}")))
        count = cursor.count(f"number of values of {name}", limit=cursor.left // 4, item_nbytes=4, code="I")
        values = np.frombuffer(cursor.data, "<f4", count, cursor.position).copy()
        cursor.position += values.nbytes
        base = canonical_name(name)
        if f"{base}.counts" in tensors:
            raise cursor.error(f"entry {name!r} a second time", "each once", at)
        for own, stored in ((f"{base}.in_sum2", values[np.newaxis]), (f"{base}.counts", np.full((1, 1), calls, "<f4"))):
            tensors[own] = _tensor(own, stored, cursor.file)
    return tensors


def _tensor(name: str, stored: Array, file: str) -> LazyTensor:
    return LazyTensor(name, stored.shape, DTYPES["F32"], f"{file}: {name}", lambda: stored)
