"""The wire format of protocol buffers, as far as reading a file needs it.

Source: protobuf.dev/programming-guides/encoding. A message is a row of fields: a varint (number << 3 | wire type), then
a varint (0), 8 bytes (1), a length and so many bytes (2), or 4 bytes (5). Groups (3, 4) are not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import attrs

from realizar.errors import FormatError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_SIZES = {FIXED64: 8, FIXED32: 4}


@attrs.define  # not frozen: a file may have a million fields, and that triples the time of making one
class Message:
    """Bytes `start` to `stop` of a file. file: its name, for messages of errors."""

    data: bytes
    start: int
    stop: int
    file: str

    def __iter__(self) -> Iterator[Field]:
        """The fields in order; raises FormatError where one is malformed or leaves the message."""
        at, varint = self.start, self._varint
        while at < self.stop:
            begin = at
            key, at = varint(at)
            number, wire_type = key >> 3, key & 7
            if not number:
                raise self.error(begin, "field number 0", "1 or more")
            value, stop = 0, at
            if wire_type == VARINT:
                value, stop = varint(at)
            elif wire_type == LENGTH:
                length, at = varint(at)
                stop = at + length
            elif wire_type in _SIZES:
                stop = at + _SIZES[wire_type]
            else:
                raise self.error(begin, f"wire type {wire_type} of field {number}", "0, 1, 2 or 5")
            if stop > self.stop:
                raise self.error(begin, f"field {number} of {stop - at} bytes", f"at most {self.stop - at}")
            yield Field(self, number, wire_type, value, at, stop)
            at = stop

    def error(self, at: int, found: str, expected: str) -> FormatError:
        """A FormatError at a byte of the file."""
        return FormatError(f"{self.file}: byte {at}: found {found}, expected {expected}; the file is damaged")

    def _varint(self, at: int) -> tuple[int, int]:
        """The number at `at`, 64 bits at most, and where it ends."""
        if at < self.stop and self.data[at] < 0x80:
            return self.data[at], at + 1  # as nearly all are
        value = shift = 0
        for position in range(at, min(at + 10, self.stop)):
            byte = self.data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, position + 1
            shift += 7
        raise self.error(at, "a number that does not end", "a varint of up to 10 bytes inside its message")


@attrs.define
class Field:
    """One field: bytes `start` to `stop` of the file; value: of a varint."""

    owner: Message
    number: int
    wire_type: int
    value: int
    start: int
    stop: int

    def message(self) -> Message:
        """The message that the field is."""
        self._expect(LENGTH, "a message")
        return Message(self.owner.data, self.start, self.stop, self.owner.file)

    def bytes(self) -> bytes:
        """The bytes of the field."""
        self._expect(LENGTH, "bytes")
        return self.owner.data[self.start : self.stop]

    def string(self) -> str:
        """The text of the field; raises FormatError if it is not UTF-8."""
        self._expect(LENGTH, "a string")
        try:
            return str(memoryview(self.owner.data)[self.start : self.stop], "utf-8")
        except UnicodeDecodeError as error:
            raise self.owner.error(self.start + error.start, "bytes that are not UTF-8", "a string") from None

    def integer(self) -> int:
        """A signed number."""
        self._expect(VARINT, "an integer")
        return self.value - (1 << 64) if self.value >> 63 else self.value

    def float32(self) -> float:
        """A number of 32 bits."""
        self._expect(FIXED32, "a 32-bit number")
        value: float = struct.unpack_from("<f", self.owner.data, self.start)[0]
        return value

    def _expect(self, wire_type: int, what: str) -> None:
        if self.wire_type != wire_type:
            raise self.owner.error(self.start, f"wire type {self.wire_type} of field {self.number}", what)


def integer(number: int, value: int) -> bytes:
    """A field of that number with a signed integer."""
    return _varint(number << 3 | VARINT) + _varint(value & 0xFFFFFFFFFFFFFFFF)


def float32(number: int, value: float) -> bytes:
    """A field of that number with a number of 32 bits."""
    return _varint(number << 3 | FIXED32) + struct.pack("<f", value)


def message(number: int, content: bytes) -> bytes:
    """A field of that number with a message, or bytes."""
    return _varint(number << 3 | LENGTH) + _varint(len(content)) + content


def string(number: int, text: str) -> bytes:
    """A field of that number with a text."""
    return message(number, text.encode("utf-8"))


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the top bit."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
