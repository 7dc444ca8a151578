"""The first 24 bytes: magic number, version, counts. Source: GGUF specification, "File Structure"."""

from __future__ import annotations

import attrs

from realizar_gguf.cursor import ByteOrder, Cursor

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 16
MIN_KEY_NBYTES = 8 + 4 + 1
"""Length, no name, type and a one-byte value."""
MIN_TENSOR_NBYTES = 8 + 4 + 4 + 8
"""Length, no name, number of dimensions, type and offset."""


@attrs.frozen
class Header:
    """Version, byte order and how many entries follow."""

    version: int
    byteorder: ByteOrder
    num_tensors: int
    num_keys: int


def read_header(data: memoryview, file: str) -> tuple[Header, Cursor]:
    """The header of `data` and a cursor behind it.

    Offset 0: magic; 4: version u32, which also tells the byte order; 8: tensor count u64; 16: key count u64.
    """
    cursor = Cursor(data, file)
    cursor.need(4, "magic number")
    magic = bytes(data[:4])
    if magic != MAGIC:
        raise cursor.error(f"magic number {magic!r}", f"{MAGIC!r}; is this a GGUF file?")
    cursor.position = 4
    cursor.need(4, "version")
    version, byteorder = _version(cursor)
    cursor = Cursor(data, file, byteorder, position=8)
    num_tensors = cursor.count("tensor count", limit=MAX_TENSORS, item_nbytes=MIN_TENSOR_NBYTES)
    num_keys = cursor.count("key count", limit=MAX_KEYS, item_nbytes=MIN_KEY_NBYTES)
    return Header(version, byteorder, num_tensors, num_keys), cursor


def _version(cursor: Cursor) -> tuple[int, ByteOrder]:
    """A big-endian file is known by a version that makes sense only when read so."""
    raw = bytes(cursor.data[4:8])
    orders: tuple[ByteOrder, ByteOrder] = ("little", "big")
    for byteorder in orders:
        version = int.from_bytes(raw, byteorder)
        if version in VERSIONS:
            return version, byteorder
    found = min(int.from_bytes(raw, order) for order in orders)
    hint = "; convert the file with a current llama.cpp" if found < min(VERSIONS) else "; a newer realizar may read it"
    raise cursor.error(f"version {found}", f"version 2 or 3{hint}")
