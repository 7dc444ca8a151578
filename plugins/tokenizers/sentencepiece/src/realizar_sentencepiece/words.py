"""Cuts that no piece reaches over, so that words are segmented one by one and remembered.

SentencePiece knows no words: a piece may hold a space anywhere. A text may be cut beside a space only where no piece
of the vocabulary has that space next to the character on the other side. Then every segmentation of the whole is one
of the parts, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SPACE = "\u2581"
"""How pieces spell a space: U+2581 LOWER ONE EIGHTH BLOCK."""


def word_pattern(pieces: Iterable[str], *, suffix: bool = False) -> re.Pattern[str]:
    """A pattern whose matches, in order, are the words of a text and cover it; linear in the text.

    suffix: words keep the spaces behind them, not those before them.
    """
    if suffix:
        following = _class_of(piece[i + 1] for piece in pieces for i in _spaces(piece[:-1]))
        joint = rf"(?:[^{SPACE}]*+{SPACE}++(?={following}))*+" if following else ""
        return re.compile(rf"(?!\Z){joint}[^{SPACE}]*+{SPACE}*+")
    preceding = _class_of(piece[i - 1] for piece in pieces for i in _spaces(piece, 1))
    joint = rf"(?:(?<={preceding}){SPACE}++[^{SPACE}]*+)*+" if preceding else ""
    return re.compile(rf"(?:{SPACE}++[^{SPACE}]*+|[^{SPACE}]++){joint}")


def _spaces(piece: str, start: int = 0) -> Iterable[int]:
    at = piece.find(SPACE, start)
    while at >= 0:
        yield at
        at = piece.find(SPACE, at + 1)


def _class_of(characters: Iterable[str]) -> str:
    """The pattern of one of `characters` but for the space; empty for none."""
    found = "".join(sorted(set(characters) - {SPACE}))
    return f"[{re.escape(found)}]" if found else ""
