"""Which paths look like Safetensors, from a few bytes and names."""

from __future__ import annotations

from pathlib import Path

from realizar_safetensors.header import MAX_HEADER_NBYTES
from realizar_safetensors.model_files import INDEX_SUFFIX, PICKLES, SUFFIX, model_file


def sniff(path: Path, head: bytes) -> int:
    """100 for a plausible header, an index, or a directory that holds either; 50 by extension; else 0.

    A directory of pickles scores 1: nobody else will say better than `read_model` why it is not read.
    """
    if path.is_dir():
        if model_file(path) is not None:
            return 100
        return 1 if any((path / name).is_file() for name in PICKLES) else 0
    if path.name.endswith(INDEX_SUFFIX):
        return 100
    size = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= size <= MAX_HEADER_NBYTES:
        return 100
    return 50 if path.suffix == SUFFIX else 0
