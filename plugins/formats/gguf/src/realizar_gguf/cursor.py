"""A bounds-checked reading position in a mapped file; nothing is sized by a number that was not proven here."""

from __future__ import annotations

import struct
from typing import Literal

from realizar.errors import FormatError

ByteOrder = Literal["little", "big"]

PREFIXES: dict[ByteOrder, Literal["<", ">"]] = {"little": "<", "big": ">"}
"""What `struct` and NumPy call a byte order."""


def malformed(file: str, offset: int, found: str, expected: str) -> FormatError:
    """The error of a malformed file: which file, at which byte, what was found and what was expected."""
    return FormatError(f"{file}: offset {offset}: found {found}, expected {expected}")


class Cursor:
    """Reads primitives of one byte order from `data`, never past its end."""

    def __init__(self, data: memoryview, file: str, byteorder: ByteOrder = "little", position: int = 0) -> None:
        self.data = data
        self.file = file
        self.byteorder: ByteOrder = byteorder
        self.position = position
        self.prefix = PREFIXES[byteorder]

    @property
    def left(self) -> int:
        """Bytes between the position and the end of the file."""
        return len(self.data) - self.position

    def error(self, found: str, expected: str, at: int | None = None) -> FormatError:
        """A FormatError at byte `at`, by default the current position."""
        return malformed(self.file, self.position if at is None else at, found, expected)

    def need(self, nbytes: int, what: str) -> None:
        """Prove that `nbytes` more bytes exist."""
        if nbytes > self.left:
            raise self.error(f"the end of the file after {self.left} bytes", f"{nbytes} bytes of {what}")

    def scalar(self, code: str, what: str) -> int | float:
        """One number; `code` is its `struct` letter."""
        layout = struct.Struct(self.prefix + code)
        self.need(layout.size, what)
        (value,) = layout.unpack_from(self.data, self.position)
        self.position += layout.size
        number: int | float = value
        return number

    def u32(self, what: str) -> int:
        """An unsigned 32-bit integer."""
        return int(self.scalar("I", what))

    def u64(self, what: str) -> int:
        """An unsigned 64-bit integer."""
        return int(self.scalar("Q", what))

    def count(self, what: str, *, limit: int, item_nbytes: int, code: str = "Q") -> int:
        """A number of items, proven to fit `limit` and the bytes left at `item_nbytes` or more each.

        code: the `struct` letter of the number, a u64 by default.
        """
        at = self.position
        value = int(self.scalar(code, f"the {what}"))
        if value > limit:
            raise self.error(f"{what} {value}", f"at most {limit}", at)
        if value * item_nbytes > self.left:
            raise self.error(f"{what} {value}", f"at most {self.left // item_nbytes}: {self.left} bytes are left", at)
        return value

    def string(self, what: str, *, limit: int, code: str = "Q") -> str:
        """A length and that many bytes of UTF-8; code: as in `count`."""
        length = self.count(f"{what} length", limit=limit, item_nbytes=1, code=code)
        start, self.position = self.position, self.position + length
        try:
            return str(self.data[start : self.position], "utf-8")
        except UnicodeDecodeError as error:
            byte = self.data[start + error.start]
            raise self.error(f"byte 0x{byte:02x} in a {what}", "UTF-8", start + error.start) from None

    def align(self, alignment: int) -> None:
        """Skip the padding up to the next multiple of `alignment`; may pass the end of the file."""
        self.position += -self.position % alignment
