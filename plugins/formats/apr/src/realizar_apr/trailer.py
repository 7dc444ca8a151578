"""What stands behind the last tensor: the CRC-32 of everything before it, or nothing.

Source: aprender `src/format/v2/`; realizar 0.8's own writers leave it out, and no reader of either looks at it.
"""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path

from realizar.mapped_file import MappedFile
from realizar_apr.header import Header, read_header
from realizar_apr.index import TensorInfo, aligned, read_index
from realizar_apr.variants import MAGIC, malformed

log = logging.getLogger(__name__)

SLICE_NBYTES = 1 << 24
TRAILER_NBYTES = 4


def find_trailer(data: memoryview, header: Header, infos: list[TensorInfo], file: str) -> int | None:
    """Where the checksum stands, None if there is none; raises FormatError for a piece of one."""
    last = max((info.end for info in infos), default=header.data_offset)
    end = header.data_offset + aligned(last - header.data_offset)
    behind = len(data) - end
    if behind in (1, 2, 3):
        raise malformed(file, end, f"{behind} bytes behind the last tensor", "a checksum of 4 or none")
    if behind > TRAILER_NBYTES:
        log.warning("%s: %d bytes behind the last tensor are not read", file, behind)
    return end if behind == TRAILER_NBYTES else None


def verify_trailer(path: Path) -> Iterator[str]:
    """Whether the bytes of a file fit its checksum; raises FormatError for one that cannot be opened."""
    with contextlib.closing(MappedFile(path, f"{MAGIC!r}")) as file:
        header = read_header(file.view, path.name)
        if header.is_compressed:  # nothing says over which bytes a checksum would be
            return
        header.prove(len(file.view), path.name)
        end = find_trailer(file.view, header, read_index(file.view, header, path.name), path.name)
        if end is None:
            return
        computed = 0
        for start in range(0, end, SLICE_NBYTES):
            part = file.view[start : min(start + SLICE_NBYTES, end)]
            computed = zlib.crc32(part, computed)
            file.release(start, part.nbytes)
        stated = int.from_bytes(file.view[end:], "little")
    if stated != computed:
        expected = f"{computed:08x}; the file is damaged, so get it anew"
        yield str(malformed(path.name, end, f"checksum {stated:08x} of the file", expected))
