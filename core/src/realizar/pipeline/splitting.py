"""What becomes of a text that a pattern cuts. Source: tokenizers `SplitDelimiterBehavior`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

BEHAVIORS = ("Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext")

Pieces = Iterable[tuple[str, bool]]
"""Parts of a text, in order, and whether each is a match."""


def split(parts: Sequence[str], behavior: str, invert: bool = False) -> list[str]:
    """The pieces, none empty. parts: what lies between matches, and matches, in turns, as from `Pattern.parts`.

    invert: what lies between is taken for the matches.
    """
    if behavior == "Isolated":
        return [part for part in parts if part]
    if behavior == "Removed":
        return [part for part in parts[invert::2] if part]
    pieces = [(part, bool(i % 2) != invert) for i, part in enumerate(parts) if part or i % 2]
    if behavior == "Contiguous":
        joined = _joined(pieces, lambda is_match, before: is_match == before)
    elif behavior == "MergedWithPrevious":
        joined = _joined(pieces, _starts_matching)
    else:
        backwards = _joined([(piece[::-1], is_match) for piece, is_match in reversed(pieces)], _starts_matching)
        joined = [piece[::-1] for piece in reversed(backwards)]
    return [piece for piece in joined if piece]


def _starts_matching(is_match: bool, before: bool) -> bool:
    return is_match and not before


def _joined(pieces: Pieces, joins: Callable[[bool, bool], bool]) -> list[str]:
    """Each piece with those behind it that join it. joins: of whether it is a match, and whether the one before is."""
    groups: list[list[str]] = []
    before = False
    for piece, is_match in pieces:
        if groups and joins(is_match, before):
            groups[-1].append(piece)
        else:
            groups.append([piece])
        before = is_match
    return list(map("".join, groups))
