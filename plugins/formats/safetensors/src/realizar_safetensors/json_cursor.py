"""A reading position in JSON text of a mapped file: strict (RFC 8259), and nothing is built that was not asked for.

A general parser would first build whatever the file says; a header of 100 MB can say 50 million lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache

from realizar.errors import FormatError

_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.)*+"')


@cache
def _array(limit: int) -> re.Pattern[bytes]:
    """An array of at most `limit` unsigned integers; group 1 is what is between the brackets."""
    space = rb"[ \t\n\r]*+"
    number = space + rb"(?:0|[1-9][0-9]{0,19}+)" + space
    return re.compile(rb"\[" + space + rb"(" + number + rb"(?:," + number + rb"){0,%d}+)?\]" % (limit - 1))


def malformed(file: str, offset: int, found: str, expected: str) -> FormatError:
    """The error of a malformed file: which file, at which byte, what was found and what was expected."""
    return FormatError(f"{file}: offset {offset}: found {found}, expected {expected}")


class JsonCursor:
    """Reads objects, arrays, strings and unsigned integers from `data`, never past `end`."""

    def __init__(self, data: memoryview, file: str, position: int, end: int) -> None:
        self.data = data
        self.file = file
        self.position = position
        self.end = end

    def error(self, found: str, expected: str, at: int | None = None) -> FormatError:
        """A FormatError at byte `at`, by default the current position."""
        return malformed(self.file, self.position if at is None else at, found, expected)

    def here(self) -> str:
        """What stands at the position, for messages."""
        if self.position >= self.end:
            return "the end of the header"
        return repr(bytes(self.data[self.position : min(self.position + 16, self.end)]))

    def peek(self) -> str:
        """The next byte after white space as a character, "" at the end."""
        byte = self.data[self.position] if self.position < self.end else 0x20
        if byte in b" \t\n\r":
            match = _SPACE.match(self.data, self.position, self.end)
            assert match is not None
            self.position = match.end()
            if self.position == self.end:
                return ""
            byte = self.data[self.position]
        return chr(byte)

    def take(self, character: str, where: str) -> None:
        """Skip this one character, which must be next."""
        if self.peek() != character:
            raise self.error(self.here(), f"{character!r} {where}")
        self.position += 1

    def string(self, what: str, *, limit: int) -> str:
        """A string of at most `limit` bytes, quotes and escapes counted."""
        self.peek()
        at = self.position
        match = _STRING.match(self.data, at, min(self.end, at + limit + 2))
        if match is None:
            raise self.error(self.here(), f"{what}, a JSON string of at most {limit} bytes")
        self.position = match.end()
        raw = match.group()
        try:
            decoded = raw.decode("utf-8")
            if "\\" not in decoded:
                return decoded[1:-1]
            text: str = json.loads(decoded)
            text.encode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"byte 0x{raw[error.start]:02x} in {what}", "UTF-8", at + error.start) from None
        except (ValueError, UnicodeEncodeError):
            raise self.error(f"a bad escape in {what}", "RFC 8259 escapes and no lone surrogate", at) from None
        return text

    def integers(self, what: str, *, limit: int) -> tuple[int, ...]:
        """An array of at most `limit` integers, each of at most 20 digits without sign, fraction or exponent."""
        self.peek()
        match = _array(limit).match(self.data, self.position, self.end)
        if match is None:
            raise self.error(self.here(), f"{what}: an array of at most {limit} unsigned integers below 10^20")
        self.position = match.end()
        return tuple(map(int, match.group(1).split(b","))) if match.group(1) else ()

    def members(self, what: str, read: Callable[[str, int], None], *, key_limit: int) -> None:
        """An object; `read(key, offset of the key)` consumes each value. A key that comes twice is an error."""
        self.take("{", f"before {what}")
        seen: set[str] = set()
        while self.peek() != "}" or seen:
            at = self.position
            key = self.string(f"a key of {what}", limit=key_limit)
            if key in seen:
                raise self.error(f"{key!r} a second time in {what}", "each key once", at)
            seen.add(key)
            self.take(":", f"after {key!r}")
            read(key, at)
            if self.peek() == "}":
                break
            self.take(",", f"or '}}' in {what}")
        self.take("}", f"after {what}")
