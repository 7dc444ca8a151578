"""A text that arrives in pieces, read as if it were all there: who needs more yields None and goes on later."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from realizar.tool_calls.deltas import Content, Delta

T = TypeVar("T")

Reading = Generator[Delta | None, None, T]
"""Yields deltas, None where it waits for text, and returns a T."""

Waiting = Generator[None, None, T]

SPACE = " \t\r\n"


class Reader:
    """The text so far and a position in it."""

    def __init__(self) -> None:
        self._text = ""
        self._closed = False
        self.position = 0

    def feed(self, text: str) -> None:
        """More text."""
        self._text += text

    def close(self) -> None:
        """There is no more text."""
        self._closed = True

    def since(self, position: int) -> str:
        """The text from there to where reading is."""
        return self._text[position : self.position]

    def more(self) -> Waiting[bool]:
        """Wait for text beyond what there is; False at the end."""
        size = len(self._text)
        while len(self._text) == size:
            if self._closed:
                return False
            yield None
        return True

    def peek(self) -> Waiting[str]:
        """The next character, not taken; empty at the end."""
        while self.position == len(self._text):
            if not (yield from self.more()):
                return ""
        return self._text[self.position]

    def take(self, pattern: str) -> Waiting[bool]:
        """Take `pattern` if it is what comes next."""
        while True:
            found = self._text[self.position : self.position + len(pattern)]
            if found == pattern:
                self.position += len(pattern)
                return True
            if not pattern.startswith(found) or not (yield from self.more()):
                return False

    def skip_space(self) -> Waiting[str]:
        """Skip white space; the next character, not taken."""
        while True:
            char = yield from self.peek()
            if char not in SPACE or not char:
                return char
            self.position += 1

    def until(self, marks: Sequence[str]) -> Waiting[tuple[str, str | None]]:
        """The text that is certain before one of `marks`, and the mark, taken, if it has come; at the end None.

        What may yet become a mark is held back; call again while the mark is None and something was returned.
        """
        while True:
            rest = self._text[self.position :]
            found = [(at, -len(mark), mark) for mark in marks if (at := rest.find(mark)) >= 0]
            if found:
                at, _, mark = min(found)
                self.position += at + len(mark)
                return rest[:at], mark
            certain = len(rest) if self._closed else len(rest) - held(rest, marks)
            if certain:
                self.position += certain
                return rest[:certain], None
            if not (yield from self.more()) and not rest:
                return "", None

    def through(self, *marks: str) -> Waiting[tuple[str, str | None]]:
        """All text before the first of `marks`, and the mark, taken; None if the text ends before."""
        parts: list[str] = []
        while True:
            text, mark = yield from self.until(marks)
            parts.append(text)
            if mark is not None or not text:
                return "".join(parts), mark

    def content_until(self, *marks: str) -> Reading[str | None]:
        """Give content up to the first of `marks`, and take it; None if the text ends before."""
        while True:
            text, mark = yield from self.until(marks)
            if text:
                yield Content(text)
            if mark is not None or not text:
                return mark

    def content(self) -> Reading[None]:
        """Give all the rest as content."""
        yield from self.content_until()


def held(text: str, marks: Sequence[str]) -> int:
    """How many characters at the end of `text` may be the beginning of a mark."""
    longest = max(map(len, marks), default=1)
    for size in range(min(longest - 1, len(text)), 0, -1):
        if any(mark.startswith(text[-size:]) for mark in marks):
            return size
    return 0
