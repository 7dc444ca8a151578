"""JSON read while it is written: every piece given can be closed to a whole value.

Source of the syntax: RFC 8259. A key is held until its value begins, a number or a word until it ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator

from realizar.tool_calls.reader import Reader, Waiting

MAX_DEPTH = 64
"""Arrays and objects within each other."""

MAX_SCALAR_CHARS = 1024

_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')

Pieces = Generator[str | None, None, None]


class Malformed(Exception):
    """The text is no JSON, or ends inside of it."""


class JsonReader:
    """Reads one value from a Reader; yields its pieces without white space between tokens, None to wait.

    quotes: what a string may stand between. bare_keys: keys may stand without quotes, up to the colon.
    """

    quotes: tuple[str, ...] = ('"',)
    bare_keys = False

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._closers: list[str] = []

    @property
    def closing(self) -> str:
        """What closes the pieces given so far."""
        return "".join(reversed(self._closers))

    def value(self, before: str = "") -> Pieces:
        """The pieces of a value, the first with `before` in front; raises Malformed."""
        char = yield from self._reader.skip_space()
        if char in "{[" and char:
            if len(self._closers) >= MAX_DEPTH:
                raise Malformed
            self._reader.position += 1
            yield from self._open(before + char, "}" if char == "{" else "]")
            yield from self._members() if char == "{" else self._items()
            return
        quote = yield from self._quote()
        if quote is None:
            yield before + (yield from self._scalar())
            return
        yield from self._open(f'{before}"', '"')
        yield from self._string(quote)
        yield self._closers.pop()

    def key(self) -> Waiting[str]:
        """A key, decoded."""
        yield from self._reader.skip_space()
        quote = yield from self._quote()
        if quote is None:
            return (yield from self._bare_key())
        pieces: list[str] = []
        for piece in self._string(quote):
            if piece is None:
                yield None
            else:
                pieces.append(piece)
        return str(json.loads(f'"{"".join(pieces)}"'))

    def colon(self) -> Waiting[None]:
        """Take the colon behind a key."""
        yield from self._reader.skip_space()
        if not (yield from self._reader.take(":")):
            raise Malformed

    def _open(self, piece: str, closer: str) -> Pieces:
        self._closers.append(closer)
        yield piece

    def _members(self) -> Pieces:
        before = ""
        while not (yield from self._ends("}", bool(before))):
            key = yield from self.key()
            yield from self.colon()
            yield from self.value(f"{before}{json.dumps(key)}:")
            before = ","
        yield self._closers.pop()

    def _items(self) -> Pieces:
        before = ""
        while not (yield from self._ends("]", bool(before))):
            yield from self.value(before)
            before = ","
        yield self._closers.pop()

    def _ends(self, closer: str, has_value: bool) -> Waiting[bool]:
        """Take the closer or, behind a value, the comma."""
        yield from self._reader.skip_space()
        if (yield from self._reader.take(closer)):
            return True
        if has_value and not (yield from self._reader.take(",")):
            raise Malformed
        return False

    def _quote(self) -> Waiting[str | None]:
        for quote in self.quotes:
            if (yield from self._reader.take(quote)):
                return quote
        return None

    def _string(self, quote: str) -> Pieces:
        """What stands in a string, as it is written in JSON, up to the quote and with it."""
        marks = (quote, "\\") if quote == '"' else (quote,)
        while True:
            text, mark = yield from self._reader.until(marks)
            if text:
                yield text if quote == '"' and text.isprintable() else json.dumps(text, ensure_ascii=False)[1:-1]
            if mark == quote:
                return
            if mark == "\\":
                yield (yield from self._escape())
            elif not text:
                raise Malformed

    def _escape(self) -> Waiting[str]:
        """An escape whose backslash is taken."""
        escape = "\\"
        while not _ESCAPE.fullmatch(escape):
            char = yield from self._reader.peek()
            if not char or len(escape) >= 6 or (len(escape) == 2 and escape[1] != "u"):
                raise Malformed
            escape += char
            self._reader.position += 1
        return escape

    def _scalar(self) -> Waiting[str]:
        start = self._reader.position
        while (char := (yield from self._reader.peek())) and (char.isalnum() or char in "+-."):
            self._reader.position += 1
            if self._reader.position - start > MAX_SCALAR_CHARS:
                raise Malformed
        text = self._reader.since(start)
        if not char or not _SCALAR.fullmatch(text):  # at the end of the text it might have gone on
            raise Malformed
        return text

    def _bare_key(self) -> Waiting[str]:
        start = self._reader.position
        while self.bare_keys and (char := (yield from self._reader.peek())) and char not in ':,{}[]"':
            self._reader.position += 1
        key = self._reader.since(start).strip()
        if not key:
            raise Malformed
        return key


def collected(pieces: Pieces) -> Waiting[str]:
    """All pieces of a value in one; raises Malformed."""
    text: list[str] = []
    for piece in pieces:
        if piece is None:
            yield None
        else:
            text.append(piece)
    return "".join(text)
