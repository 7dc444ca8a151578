"""The header of a Safetensors file: which tensors lie where.

Source: safetensors README, "Format". Offset 0: size N of the header, u64 little-endian; 8: N bytes of JSON in UTF-8
that begin with "{" and may end in spaces; then the tensors' bytes, which leave no gap, do not overlap and end the file.
"""

from __future__ import annotations

import math
from itertools import pairwise

import attrs

from realizar.dtypes import DTYPES, DType
from realizar_safetensors.json_cursor import JsonCursor, malformed

MAX_HEADER_NBYTES = 100_000_000
"""The specification's own limit."""
MAX_TENSORS = 1 << 16
MAX_DIMENSIONS = 8
MAX_NAME_NBYTES = 1024
MAX_METADATA_KEYS = 1 << 16
MAX_METADATA_NBYTES = 1 << 24
"""All keys and values of __metadata__ together, as they stand in the file."""

NAMES = (
    "BOOL U8 I8 U16 I16 U32 I32 U64 I64 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ F16 BF16 F32 F64".split()
)  # fmt: skip
"""Types that are read; the specification's names are ours."""
UNREAD = {"F4": "4-bit floats", "F6_E2M3": "6-bit floats", "F6_E3M2": "6-bit floats", "C64": "complex numbers"}
"""Types of the specification that no kernel here takes."""


@attrs.frozen
class TensorInfo:
    """A tensor's entry. offset: of its first byte in the file; described_at: of its name."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    nbytes: int
    offset: int
    described_at: int


@attrs.frozen
class Header:
    """What the JSON says. tensors: in the order of their bytes; data_start: offset of the first byte behind it."""

    metadata: dict[str, str]
    tensors: list[TensorInfo]
    data_start: int


def read_header(data: memoryview, file: str) -> Header:
    """The header at the start of `data`, all offsets proven; raises FormatError."""
    size = _header_nbytes(data, file)
    cursor = JsonCursor(data, file, 8, 8 + size)
    if bytes(data[8:9]) != b"{":
        raise cursor.error(cursor.here(), "'{', the first byte of the header; is this a Safetensors file?")
    metadata: dict[str, str] = {}
    tensors: list[TensorInfo] = []

    def read(name: str, at: int) -> None:
        if name == "__metadata__":
            _read_metadata(cursor, metadata)
            return
        if len(tensors) == MAX_TENSORS:
            raise cursor.error(f"more than {MAX_TENSORS} tensors", f"at most {MAX_TENSORS}", at)
        tensors.append(_read_tensor(cursor, name, at))

    cursor.members("the header", read, key_limit=MAX_NAME_NBYTES)
    if cursor.peek():
        raise cursor.error(cursor.here(), "nothing but spaces between the header's '}' and its end")
    tensors.sort(key=lambda info: (info.offset, info.nbytes))
    _prove_coverage(cursor, tensors)
    return Header(metadata, tensors, cursor.end)


def _header_nbytes(data: memoryview, file: str) -> int:
    if len(data) < 8:
        raise malformed(file, 0, f"the end of the file after {len(data)} bytes", "8 bytes of header size")
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= MAX_HEADER_NBYTES:
        expected = f"2 to {MAX_HEADER_NBYTES}; is this a Safetensors file?"
        raise malformed(file, 0, f"header size {size}", expected)
    if size > len(data) - 8:
        expected = f"at most {len(data) - 8}, the bytes left; is the download complete?"
        raise malformed(file, 0, f"header size {size}", expected)
    return size


def _read_metadata(cursor: JsonCursor, metadata: dict[str, str]) -> None:
    """Text by name, nothing else."""
    start = cursor.position

    def read(key: str, at: int) -> None:
        if len(metadata) == MAX_METADATA_KEYS:
            raise cursor.error(
                f"more than {MAX_METADATA_KEYS} keys in __metadata__", f"at most {MAX_METADATA_KEYS}", at
            )
        left = MAX_METADATA_NBYTES - (cursor.position - start)
        metadata[key] = cursor.string(f"the value of {key!r} in __metadata__", limit=max(0, left))

    cursor.members("__metadata__", read, key_limit=MAX_NAME_NBYTES)


def _read_tensor(cursor: JsonCursor, name: str, at: int) -> TensorInfo:
    what = f"tensor {name!r}"
    fields: dict[str, tuple[int, ...]] = {}
    types: list[DType] = []

    def read(key: str, key_at: int) -> None:
        if key == "dtype":
            types.append(_read_dtype(cursor, what))
        elif key == "shape":
            fields[key] = cursor.integers(f"the shape of {what}", limit=MAX_DIMENSIONS)
        elif key == "data_offsets":
            fields[key] = cursor.integers(f"data_offsets of {what}", limit=2)
        else:
            raise cursor.error(f"key {key!r} of {what}", "dtype, shape and data_offsets only", key_at)

    cursor.members(what, read, key_limit=MAX_NAME_NBYTES)
    if not types or len(fields) != 2 or len(fields["data_offsets"]) != 2:
        raise cursor.error(f"an incomplete {what}", "dtype, shape and two data_offsets", at)
    begin, end = fields["data_offsets"]
    nbytes = math.prod(fields["shape"]) * types[0].block_nbytes
    if end - begin != nbytes:
        shape = " x ".join(map(str, fields["shape"])) or "a scalar"
        found = f"data_offsets {begin} to {end} of {what}"
        raise cursor.error(found, f"{nbytes} bytes for {shape} {types[0].name}", at)
    return TensorInfo(name, fields["shape"], types[0], nbytes, cursor.end + begin, at)


def _read_dtype(cursor: JsonCursor, what: str) -> DType:
    cursor.peek()
    at = cursor.position
    name = cursor.string(f"the dtype of {what}", limit=64)
    if name in UNREAD:
        raise cursor.error(
            f"{what} of dtype {name} ({UNREAD[name]}), which is not read here",
            f"one of {', '.join(NAMES)}; save the model in one of these types",
            at,
        )
    if name not in NAMES:
        raise cursor.error(f"dtype {name!r} of {what}", f"one of {', '.join(NAMES)}", at)
    return DTYPES[name]


def _prove_coverage(cursor: JsonCursor, tensors: list[TensorInfo]) -> None:
    """Tensors in the order of their bytes cover the file from the header to its end, each byte once."""
    size, start = len(cursor.data), cursor.end
    if not tensors:
        _prove_end(cursor, start, "the header")
        return
    if (first := tensors[0]).offset != start:
        found = f"{first.offset - start} bytes between the header and tensor {first.name!r}"
        raise cursor.error(found, "none", first.described_at)
    for before, after in pairwise(tensors):
        end = before.offset + before.nbytes
        if after.offset != end:
            problem = "an overlap" if after.offset < end else "a gap"
            raise cursor.error(
                f"{problem}: tensor {after.name!r} at byte {after.offset}",
                f"byte {end}, where tensor {before.name!r} ends",
                after.described_at,
            )
    last = tensors[-1]
    end = last.offset + last.nbytes
    if end > size:
        raise cursor.error(
            f"tensor {last.name!r} in bytes {last.offset} to {end}",
            f"its data inside the file of {size} bytes; is the download complete?",
            last.described_at,
        )
    _prove_end(cursor, end, f"tensor {last.name!r}")


def _prove_end(cursor: JsonCursor, end: int, what: str) -> None:
    if len(cursor.data) != end:
        raise cursor.error(f"{len(cursor.data) - end} bytes behind {what}", "the end of the file", end)
