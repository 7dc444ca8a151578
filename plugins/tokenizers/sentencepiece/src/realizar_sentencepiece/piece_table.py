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
        codes = code_points("".join(pieces))
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        starts = np.cumsum(lengths) - lengths
        longer, nodes = np.arange(len(pieces)), np.zeros(len(pieces), np.int64)
        levels, found, num_nodes = [np.zeros(0, np.int64)], list[tuple[Integers, Integers]](), 1
        for depth in range(int(lengths.max(initial=0))):
            edges, places = np.unique(nodes << _CHAR_BITS | codes[starts[longer] + depth], return_inverse=True)
            nodes = num_nodes + places
            num_nodes += len(edges)
            levels.append(edges)
            ends = lengths[longer] == depth + 1
            found.append((nodes[ends], longer[ends]))
            longer, nodes = longer[~ends], nodes[~ends]
        keys = np.concatenate(levels)
        self._fill(keys, np.arange(1, len(keys) + 1))
        self.piece = np.full(num_nodes, -1)
        for ended, piece in found:
            self.piece[ended] = piece

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
