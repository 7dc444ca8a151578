"""Files whose part behind the header is one compressed blob. Source: realizar 0.8 `src/apr/loading_mmap.rs`.

LZ4: the expanded size as u32, then one raw LZ4 block. zstd: one standard frame. Expanded, the part stands where the
header's offsets say. Nobody is known to write such files, but the format has them.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from realizar.mapped_file import MappedFile
from realizar_apr.header import HEADER_NBYTES, LZ4, Header
from realizar_apr.variants import malformed

MAX_RATIO = 64
MIN_LIMIT = 1 << 20
"""Bytes of a file expand to at most MAX_RATIO times as many, or to this if that is more: weights hardly shrink."""

_CHUNK_NBYTES = 1 << 18


class Image(Protocol):
    """The bytes of a file, before compression."""

    @property
    def view(self) -> memoryview: ...
    def release(self, offset: int, nbytes: int) -> None: ...
    def close(self) -> None: ...


@attrs.define
class Expanded:
    """A decompressed file, which is in memory as a whole."""

    view: memoryview

    def release(self, offset: int, nbytes: int) -> None:
        """Nothing can be given back in parts."""

    def close(self) -> None:
        """Leave the memory to the last array that points into it."""
        self.view = memoryview(b"")


def expanded(file: MappedFile, header: Header) -> Image:
    """`file` itself, or what it expands to; raises FormatError for a damaged blob and for one that grows too much."""
    if not header.is_compressed:
        return file
    blob = file.view[HEADER_NBYTES:]
    limit = max(MIN_LIMIT, MAX_RATIO * len(blob))
    expand = _expand_lz4 if header.flags & LZ4 else _expand_zstd
    whole = bytearray(file.view[:HEADER_NBYTES])
    expand(blob, whole, limit, file.path.name)
    file.close()
    return Expanded(memoryview(whole).toreadonly())


def _expand_lz4(blob: memoryview, whole: bytearray, limit: int, file: str) -> None:
    import lz4.block  # type: ignore[import-untyped]

    size = int.from_bytes(blob[:4], "little")
    if len(blob) < 4 or size > limit:
        raise malformed(file, HEADER_NBYTES, f"{len(blob)} bytes that expand to {size}", f"at most {limit}")
    try:
        whole += lz4.block.decompress(blob[4:], uncompressed_size=size)
    except lz4.block.LZ4BlockError as error:
        raise malformed(file, HEADER_NBYTES + 4, f"a damaged block ({error})", f"LZ4 of {size} bytes") from None
    if len(whole) != HEADER_NBYTES + size:
        found = f"a block of {len(whole) - HEADER_NBYTES} bytes"
        raise malformed(file, HEADER_NBYTES, found, f"{size} as it says")


def _expand_zstd(blob: memoryview, whole: bytearray, limit: int, file: str) -> None:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    try:
        with decompressor.stream_reader(blob) as reader:
            while chunk := reader.read(_CHUNK_NBYTES):
                whole += chunk
                if len(whole) - HEADER_NBYTES > limit:
                    found = f"{len(blob)} bytes that expand to over {limit}"
                    raise malformed(file, HEADER_NBYTES, found, f"at most {limit}")
    except zstandard.ZstdError as error:
        raise malformed(file, HEADER_NBYTES, f"a damaged frame ({error})", "zstd") from None
