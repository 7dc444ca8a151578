"""Which tensors lie where. Source: aprender `src/format/v2/tensor_index_impl.rs`.

Records back to back: u16 length of the name, the name, u8 type code, u8 number of dimensions, a u64 for each (outermost
first), u64 offset from the start of the data, u64 size in bytes.
"""

from __future__ import annotations

import math
import struct

import attrs

from realizar_apr.codes import CODES
from realizar_apr.encodings import Encoding, encoding_of, encodings
from realizar_apr.header import ALIGNMENT, Header
from realizar_apr.variants import malformed

MAX_DIMENSIONS = 8
MAX_NAME_NBYTES = 256
MAX_ELEMENTS = 1 << 58

_U16, _PAIR = struct.Struct("<H"), struct.Struct("<QQ")
_SMALLEST_RECORD = 21


@attrs.frozen
class TensorInfo:
    """A tensor proven to lie inside the file; offset: from the file's start; described_at: of its record."""

    name: str
    code: int
    shape: tuple[int, ...]
    encoding: Encoding
    offset: int
    described_at: int

    @property
    def end(self) -> int:
        return self.offset + self.encoding.nbytes


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to whole units of alignment."""
    return nbytes + -nbytes % ALIGNMENT


def encode_record(name: bytes, code: int, shape: tuple[int, ...], offset: int, nbytes: int) -> bytes:
    """One record of the index; offset: from the start of the data."""
    sizes = struct.pack(f"<{len(shape)}Q", *shape)
    return _U16.pack(len(name)) + name + bytes([code, len(shape)]) + sizes + _PAIR.pack(offset, nbytes)


def read_index(data: memoryview, header: Header, file: str) -> list[TensorInfo]:
    """All tensors, in the order of the index; raises FormatError for a record that does not hold."""
    reader = _Records(data, header, file)
    end = header.data_offset
    if bytes(data[header.index_offset : header.index_offset + 2]) == b"[{" and header.num_tensors:
        found = "an index in JSON, of realizar's old converter, which put the whole model into JSON"
        raise malformed(file, header.index_offset, found, "a binary index; convert the model's GGUF file anew")
    if header.num_tensors * _SMALLEST_RECORD > end - header.index_offset:
        found = f"{header.num_tensors} tensors in an index of {end - header.index_offset} bytes"
        raise malformed(file, 8, found, f"at least {_SMALLEST_RECORD} bytes for each")
    tensors = [reader.next(number) for number in range(header.num_tensors)]
    _prove_names(tensors, file)
    _prove_ranges(tensors, file)
    return tensors


class _Records:
    """A reading position in the index, never past the start of the data."""

    def __init__(self, data: memoryview, header: Header, file: str) -> None:
        self.data, self.file = data, file
        self.position, self.end, self.data_offset = header.index_offset, header.data_offset, header.data_offset

    def take(self, nbytes: int, what: str) -> memoryview:
        start, self.position = self.position, self.position + nbytes
        if self.position > self.end:
            found = f"the end of the index after {self.end - start} bytes"
            raise malformed(self.file, start, found, f"{nbytes} bytes of {what}")
        return self.data[start : self.position]

    def next(self, number: int) -> TensorInfo:
        at = self.position
        name = self.name(number)
        code, num_dimensions = self.take(2, f"the type and dimensions of tensor {name!r}")
        if code not in CODES:
            raise malformed(self.file, at, f"type code {code} of tensor {name!r}", f"one of {_list(CODES)}")
        if num_dimensions > MAX_DIMENSIONS:
            found = f"{num_dimensions} dimensions of tensor {name!r}"
            raise malformed(self.file, at, found, f"at most {MAX_DIMENSIONS}")
        shape = struct.unpack(f"<{num_dimensions}Q", self.take(8 * num_dimensions, f"the shape of tensor {name!r}"))
        offset, nbytes = _PAIR.unpack(self.take(16, f"the offset and size of tensor {name!r}"))
        self.prove_inside(name, self.data_offset + offset, nbytes, at)
        encoding = self.encoding(name, code, shape, nbytes, at)
        return TensorInfo(name, code, shape, encoding, self.data_offset + offset, at)

    def name(self, number: int) -> str:
        at = self.position
        (length,) = _U16.unpack(self.take(2, f"the length of the name of tensor {number}"))
        if not 1 <= length <= MAX_NAME_NBYTES:
            found = f"a name of {length} bytes for tensor {number}"
            raise malformed(self.file, at, found, f"1 to {MAX_NAME_NBYTES}")
        raw = self.take(length, f"the name of tensor {number}")
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError as error:
            found = f"byte 0x{raw[error.start]:02x} in the name of tensor {number}"
            raise malformed(self.file, at + 2 + error.start, found, "UTF-8") from None

    def prove_inside(self, name: str, start: int, nbytes: int, at: int) -> None:
        if start + nbytes > len(self.data):
            found = f"tensor {name!r} in bytes {start} to {start + nbytes}"
            expected = f"its data inside the file of {len(self.data)} bytes; is the download complete?"
            raise malformed(self.file, at, found, expected)

    def encoding(self, name: str, code: int, shape: tuple[int, ...], nbytes: int, at: int) -> Encoding:
        sizes = " x ".join(map(str, shape)) or "a scalar"
        if math.prod(max(size, 1) for size in shape) > MAX_ELEMENTS:
            raise malformed(self.file, at, f"tensor {name!r}, {sizes}", f"at most {MAX_ELEMENTS} elements")
        encoding = encoding_of(code, shape, nbytes)
        if encoding is None:
            meant = " or ".join(f"{e.nbytes} ({e.name})" for e in encodings(code, shape))
            found = f"{nbytes} bytes for tensor {name!r}, {sizes} of type code {code}"
            raise malformed(self.file, at, found, meant)
        return encoding


def _list(codes: dict[int, tuple[str, ...]]) -> str:
    return ", ".join(f"{code} ({' or '.join(names)})" for code, names in codes.items())


def _prove_names(tensors: list[TensorInfo], file: str) -> None:
    seen: set[str] = set()
    for info in tensors:
        if info.name in seen:
            raise malformed(file, info.described_at, f"tensor {info.name!r} a second time", "each tensor once")
        seen.add(info.name)


def _prove_ranges(tensors: list[TensorInfo], file: str) -> None:
    """Tensors do not overlap, but two may be one and the same: an output layer that is the embedding."""
    ordered = sorted((info for info in tensors if info.encoding.nbytes), key=lambda info: (info.offset, info.end))
    for place, after in enumerate(ordered[1:], 1):
        before = ordered[place - 1]
        same = (before.offset, before.code, before.shape) == (after.offset, after.code, after.shape)
        third = place > 1 and ordered[place - 2].end > after.offset
        if (before.end > after.offset and not same) or third:
            found = f"tensor {after.name!r} at byte {after.offset}"
            expected = f"byte {before.end} or later, where tensor {before.name!r} ends, or one other tensor just there"
            raise malformed(file, after.described_at, found, expected)
