"""A trie of pieces as a hash table in arrays, walked from many places of a text at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]

_CHAR_BITS = 21
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_FREE = -1


def code_points(text: str) -> Integers:
    """The characters of `text` as numbers."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)


class PieceTable:
    """Nodes are numbered from the root, 0. piece: of each node, the index in `pieces` of its text, or -1.

    An edge is a key (node << 21 | character) with the node it leads to, in the first free of the slots from its hash
    on; half of the slots at least are free.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        order = sorted(range(len(pieces)), key=pieces.__getitem__)
        lengths = np.array([len(pieces[i]) for i in order], np.int64)
        rows = np.full((len(order), int(lengths.max(initial=0))), -1)  # no character
        inside = np.arange(rows.shape[1]) < lengths[:, None]
        rows[inside] = code_points("".join(pieces[i] for i in order))
        differs = np.logical_or.accumulate(rows[1:] != rows[:-1], axis=1)  # from the piece before, up to here
        new = inside & np.concatenate([np.ones((1, rows.shape[1]), np.bool_), differs])[: len(rows)]
        nodes = np.cumsum(new.T.ravel()).reshape(new.T.shape).T  # by depth, then in the order of the pieces
        parents = np.concatenate([np.zeros((len(rows), 1), np.int64), nodes[:, :-1]], axis=1)
        self._fill(parents[new] << _CHAR_BITS | rows[new], nodes[new])
        self.piece = np.full(int(new.sum()) + 1, -1)
        self.piece[nodes[np.arange(len(rows)), lengths - 1]] = order

    def step(self, nodes: Integers, chars: Integers) -> Integers:
        """Where each character leads from each node; 0 if nowhere."""
        keys = nodes << _CHAR_BITS | chars
        slots = self._slots(keys)
        found = self._keys[slots]
        reached = np.where(found == keys, self._nodes[slots], 0)
        waiting = np.flatnonzero((found != keys) & (found != _FREE))
        while len(waiting):
            slots[waiting] = (slots[waiting] + 1) % len(self._keys)
            found = self._keys[slots[waiting]]
            hit = found == keys[waiting]
            reached[waiting[hit]] = self._nodes[slots[waiting[hit]]]
            waiting = waiting[~hit & (found != _FREE)]
        return reached

    def _fill(self, keys: Integers, nodes: Integers) -> None:
        self._bits = max(4, (2 * len(keys)).bit_length())
        self._keys = np.full(1 << self._bits, _FREE, np.int64)
        self._nodes = np.zeros(1 << self._bits, np.int64)
        slots, waiting = self._slots(keys), np.arange(len(keys))
        while len(waiting):
            free = waiting[self._keys[slots[waiting]] == _FREE]
            self._keys[slots[free]] = keys[free]  # the last of those that want one slot has it
            self._nodes[slots[free]] = nodes[free]
            waiting = waiting[self._keys[slots[waiting]] != keys[waiting]]
            slots[waiting] = (slots[waiting] + 1) % len(self._keys)

    def _slots(self, keys: Integers) -> Integers:
        return (keys.astype(np.uint64) * _FACTOR >> np.uint64(64 - self._bits)).astype(np.int64)
