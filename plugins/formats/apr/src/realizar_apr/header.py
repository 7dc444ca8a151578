"""The 64 bytes at the front. Source: aprender `src/format/v2/header_impl.rs`; all numbers are little-endian.

| offset | type   | field               |     | offset | type | field                                      |
|--------|--------|---------------------|-----|--------|------|--------------------------------------------|
| 0      | 4 B    | magic               |     | 20     | u32  | metadata size                              |
| 4      | u8, u8 | version             |     | 24     | u64  | tensor index offset                        |
| 6      | u16    | flags               |     | 32     | u64  | data offset                                |
| 8      | u32    | number of tensors   |     | 40     | u32  | CRC-32 of bytes 0 to 40 and 44 to 64       |
| 12     | u64    | metadata offset     |     | 44     | 20 B | zero                                       |
"""

from __future__ import annotations

import logging
import struct
import zlib

import attrs

from realizar_apr.variants import MAGIC, malformed, refuse_others

log = logging.getLogger(__name__)

HEADER_NBYTES = 64
ALIGNMENT = 64
MAX_TENSORS = 1 << 16
MAX_METADATA_NBYTES = 1 << 25

LZ4, ZSTD, ENCRYPTED, SIGNED, SHARDED, QUANTIZED, VOCABULARY = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x200
ROW_MAJOR, COLUMN_MAJOR = 0x400, 0x800
_REFUSED = {
    ENCRYPTED: "encrypted tensors, for which version 2 has no layout",
    SHARDED: "one shard of several",
    COLUMN_MAJOR: "tensors in column-major order",
}

_LAYOUT = struct.Struct("<4sBBHIQIQQ")
_CHECKSUM_AT = 40
VERSION = (2, 0)


@attrs.frozen
class Header:
    """The fields of the front; offsets count from the start of the file, before compression."""

    flags: int
    num_tensors: int
    metadata_offset: int
    metadata_nbytes: int
    index_offset: int
    data_offset: int

    @property
    def is_compressed(self) -> bool:
        """Whether everything behind the header is one compressed blob."""
        return self.flags & (LZ4 | ZSTD) != 0

    def to_bytes(self) -> bytes:
        """The 64 bytes, with their checksum."""
        front = _LAYOUT.pack(
            MAGIC, *VERSION, self.flags, self.num_tensors, self.metadata_offset, self.metadata_nbytes,
            self.index_offset, self.data_offset,
        )  # fmt: skip
        return front + checksum(front + bytes(24)).to_bytes(4, "little") + bytes(20)

    def prove(self, nbytes: int, file: str) -> None:
        """Sections lie in order and inside the `nbytes` of the file, and their sizes are plausible."""
        end = self.metadata_offset + self.metadata_nbytes
        if self.metadata_offset < HEADER_NBYTES or end > nbytes:
            found = f"metadata in bytes {self.metadata_offset} to {end}"
            raise malformed(file, 12, found, f"it in bytes {HEADER_NBYTES} to {nbytes}; is the download complete?")
        if self.metadata_nbytes > MAX_METADATA_NBYTES:
            raise malformed(file, 20, f"{self.metadata_nbytes} bytes of metadata", f"at most {MAX_METADATA_NBYTES}")
        if not end <= self.index_offset <= nbytes:
            expected = f"it behind the metadata, in bytes {end} to {nbytes}"
            raise malformed(file, 24, f"the tensor index at byte {self.index_offset}", expected)
        if not self.index_offset <= self.data_offset <= nbytes:
            expected = f"it behind the index, in bytes {self.index_offset} to {nbytes}; is the download complete?"
            raise malformed(file, 32, f"tensor data at byte {self.data_offset}", expected)
        if self.num_tensors > MAX_TENSORS:
            raise malformed(file, 8, f"{self.num_tensors} tensors", f"at most {MAX_TENSORS}")


def checksum(front: bytes) -> int:
    """CRC-32 of the 64 bytes of a header without the checksum's own four."""
    return zlib.crc32(front[44:64], zlib.crc32(front[:40]))


def read_header(data: memoryview, file: str) -> Header:
    """The header; raises FormatError naming another layout, a wrong checksum, or a flag that cannot be followed.

    A checksum of 0 is accepted and reported: some writers leave it out.
    """
    front = bytes(data[:HEADER_NBYTES])
    refuse_others(front, file)
    if len(front) < HEADER_NBYTES:
        raise malformed(file, len(front), "the end of the file", f"a header of {HEADER_NBYTES} bytes")
    _, _, _, flags, num_tensors, *sections = _LAYOUT.unpack_from(front)
    stated, computed = int.from_bytes(front[_CHECKSUM_AT:44], "little"), checksum(front)
    if stated == 0:
        log.warning("%s: the header has no checksum, so damage to it may go unseen", file)
    elif stated != computed:
        raise malformed(
            file, _CHECKSUM_AT, f"checksum {stated:08x} of the header", f"{computed:08x}; the file is damaged"
        )
    for flag, what in _REFUSED.items():
        if flags & flag:
            raise malformed(file, 6, f"flags {flags:#06x}: {what}", "a whole, plain, row-major file")
    if flags & SIGNED:
        log.warning("%s: a signature is announced but not checked: version 2 does not say where one would be", file)
    return Header(flags, num_tensors, *sections)
