"""Regular expressions of tokenizer files: written for Oniguruma, run by `regex`, under a limit of time.

Only what means the same in both is let through. Source: Oniguruma 6.9, `doc/RE`; the documentation of `regex`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeVar

import attrs
import regex

from realizar.errors import TokenizerError

T = TypeVar("T")

MAX_LENGTH = 1 << 14
"""Characters of an expression; the longest in use have two thousand."""
MAX_NESTING = 50
MAX_REPEAT = 1000

BASE_TIMEOUT_S, TIMEOUT_S_PER_CHAR = 1.0, 1e-5
"""Seconds that a search may take: so many, and so many more for each character of the text."""

_ESCAPES = frozenset("sSdDwWbBrntfvAzZ")
_PROPERTY = re.compile(r"\\[pP]\{\^?[A-Za-z_ ]{1,40}\}")
_CODE = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})|\\x\{[0-9A-Fa-f]{1,6}\}")
_GROUP = re.compile(r"\((?:\?(?::|=|!|<=|<!|>|-?i:)|(?!\?))")
_REPEAT = re.compile(r"\{(\d{1,9})?(,)?(\d{1,9})?\}")
_POSIX = re.compile(r"\[:\^?[a-z]+:\]")


@attrs.frozen
class Pattern:
    """A regular expression, or a text to be found as it stands. source: the file and the path in it, for errors."""

    text: str
    is_regex: bool
    source: str = attrs.field(eq=False)

    def __attrs_post_init__(self) -> None:
        _compiled(self)

    def parts(self, text: str) -> list[str]:
        """`text` in turns: what lies between matches, which may be empty, and a match. Their number is odd."""
        if not self.is_regex:
            between = text.split(self.text)
            parts = [self.text] * (2 * len(between) - 1)
            parts[::2] = between
            return parts
        return self._run(text, lambda timeout: _compiled(self).split(text, timeout=timeout))

    def replace(self, text: str, content: str) -> str:
        """`text` with every match replaced; `content` is meant as it stands."""
        if not self.is_regex:
            return text.replace(self.text, content)
        return self._run(text, lambda timeout: _compiled(self).sub(lambda match: content, text, timeout=timeout))

    def _run(self, text: str, search: Callable[[float], T]) -> T:
        limit_s = BASE_TIMEOUT_S + TIMEOUT_S_PER_CHAR * len(text)
        try:
            return search(limit_s)
        except TimeoutError:
            raise TokenizerError(
                f"{self.source}: the regular expression takes more than {limit_s:.1f} s for {len(text)} characters; "
                f"it goes back and forth without end"
            ) from None
        except MemoryError:
            raise TokenizerError(f"{self.source}: the regular expression takes too much memory") from None


@lru_cache(256)
def _compiled(pattern: Pattern) -> regex.Pattern[str]:
    """In one group, so that splitting keeps the matches."""
    if not pattern.text:
        raise TokenizerError(f"{pattern.source}: the pattern is empty, which is not supported")
    if not pattern.is_regex:
        return regex.compile(f"({regex.escape(pattern.text)})", regex.V1)
    translated = "".join(_translated(pattern))
    try:
        return regex.compile(f"({translated})", regex.V1)
    except (regex.error, RecursionError, OverflowError, ValueError, IndexError, KeyError) as error:
        raise TokenizerError(f"{pattern.source}: cannot be run: {pattern.text[:60]!r}: {error}") from None


def _translated(pattern: Pattern) -> Iterator[str]:
    """The parts of an expression, each in the syntax of `regex`; raises TokenizerError for what is not the same."""
    text, at, in_class, depth = pattern.text, 0, 0, 0
    if len(text) > MAX_LENGTH:
        raise TokenizerError(f"{pattern.source}: has {len(text)} characters, at most {MAX_LENGTH} are supported")
    while at < len(text):
        char = text[at]
        if char == "\\":
            found = _escape(pattern, at)
        elif in_class:
            found, in_class = _in_class(pattern, at, in_class)
        elif char == "[":
            found, in_class = _class_start(text, at), 1
        else:
            found = _outside(pattern, at)
        depth += (found[0] == "(") - (found == ")") if not in_class else 0
        if max(depth, in_class) > MAX_NESTING:
            raise _unsupported(pattern, at, f"more than {MAX_NESTING} groups inside each other")
        at += len(found)
        if found.startswith(r"\x{"):
            found = rf"\U{int(found[3:-1], 16):08x}"
        yield _SPELLED.get(found, found) if not in_class else found


_SPELLED = {"(": "(?:", "^": "(?m:^)", "$": "(?m:$)", r"\Z": r"(?=\n?\Z)", r"\z": r"\Z"}
"""What Oniguruma's syntax means outside of classes: lines for ^ and $, groups that nothing refers to."""


def _escape(pattern: Pattern, at: int) -> str:
    text = pattern.text
    following = text[at + 1 : at + 2]
    for known in (_PROPERTY, _CODE):
        if match := known.match(text, at):
            return match.group()
    if following in _ESCAPES or (following and not following.isalnum()):
        return text[at : at + 2]
    raise _unsupported(pattern, at, text[at : at + 2])


def _in_class(pattern: Pattern, at: int, level: int) -> tuple[str, int]:
    """The next part of a class of characters, and how many classes are open behind it."""
    text = pattern.text
    if text[at] == "]":
        return "]", level - 1
    if text[at] == "[":
        if match := _POSIX.match(text, at):
            raise _unsupported(pattern, at, match.group())
        return _class_start(text, at), level + 1
    two = text[at : at + 2]
    if two in ("--", "~~", "||"):
        raise _unsupported(pattern, at, f"{two} in a class of characters")
    return (two if two == "&&" else text[at]), level


def _class_start(text: str, at: int) -> str:
    return "[^" if text.startswith("[^", at) else "["


def _outside(pattern: Pattern, at: int) -> str:
    text, char = pattern.text, pattern.text[at]
    if char == "(":
        match = _GROUP.match(text, at)
        if match is None:
            raise _unsupported(pattern, at, text[at : at + 4])
        return match.group()
    if char == "{":
        repeat = _REPEAT.match(text, at)
        if repeat is None:
            raise _unsupported(pattern, at, "{ without a number of repetitions")
        if any(int(number) > MAX_REPEAT for number in (repeat[1], repeat[3]) if number):
            raise _unsupported(pattern, at, f"more than {MAX_REPEAT} repetitions")
        if repeat[1] is None or text[repeat.end() : repeat.end() + 1] == "+":
            raise _unsupported(pattern, at, f"{repeat.group()}+ or a repetition without a least number")
        return repeat.group()
    return char


def _unsupported(pattern: Pattern, at: int, what: str) -> TokenizerError:
    return TokenizerError(
        f"{pattern.source}: character {at}: found {what} in the regular expression {pattern.text[:60]!r}, which is not "
        f"supported"
    )
