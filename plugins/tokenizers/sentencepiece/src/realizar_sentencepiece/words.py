"""Cuts that no piece reaches over, so that short words are segmented one by one and remembered.

SentencePiece knows no words: a piece may hold a space anywhere. But a text may be cut between two characters that no
piece of the vocabulary has beside each other; every segmentation of the whole then is one of the parts, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

SPACE = "\u2581"
"""How pieces spell a space: U+2581 LOWER ONE EIGHTH BLOCK."""

_SLOT_BITS = 20
_LEFT_FACTOR, _SLOT_FACTOR = np.uint32(0x01000193), np.uint32(0x9E3779B1)

Integers = np.ndarray[Any, np.dtype[Any]]


class WordCutter:
    """Cuts texts into words.

    Pairs of neighbours are kept as a bit each in 2**20 slots. Where two pairs share a slot a cut is missed, never made
    in vain.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        pieces = list(pieces)
        self._together = np.zeros(1 << _SLOT_BITS, np.bool_)
        inside = np.ones(sum(map(len, pieces)), np.bool_)
        inside[np.cumsum([len(piece) for piece in pieces], dtype=np.intp) - 1] = False
        self._together[_pair_slots("".join(pieces))[inside[:-1]]] = True

    def __call__(self, text: str) -> list[str]:
        """The words of `text`, which in order make it up; linear in its length."""
        cuts = np.flatnonzero(~self._together[_pair_slots(text)]) + 1
        return [text[start:stop] for start, stop in pairwise([0, *cuts.tolist(), len(text)])] if text else []


def _pair_slots(text: str) -> Integers:
    """The slot of each pair of neighbours."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    slots: Integers = (codes[:-1] * _LEFT_FACTOR + codes[1:]) * _SLOT_FACTOR >> np.uint32(32 - _SLOT_BITS)
    return slots
