"""The most probable segmentations of thousands of words at once: the recursion of `unigram.py` in NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import compress, pairwise

import attrs
import numpy as np

from realizar_sentencepiece.piece_table import Integers, PieceTable, code_points

MAX_LENGTH = 32
"""Characters of a word, and so of a piece in it; longer words are few, and each length costs a turn of a loop."""


@attrs.frozen
class Arcs:
    """Pieces in words. before, after: states that each leads from and to; piece: its index; turn: when it counts."""

    before: Integers
    after: Integers
    piece: Integers
    turn: Integers


class Lattice:
    """Viterbi over pieces, side by side. A word of n characters has n + 1 states, those of all words in a row."""

    def __init__(self, scores: Mapping[str, float], ids: Mapping[str, int]) -> None:
        pieces = [piece for piece in scores if len(piece) <= MAX_LENGTH]
        self._table = PieceTable(pieces)
        self._scores = np.array([scores[piece] for piece in pieces], np.float64)
        self._ids = np.array([ids[piece] for piece in pieces], np.int64)

    def segment(self, words: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The ids of those `words`, each given once, that are short and have a piece for every character."""
        words = [word for word in words if 0 < len(word) <= MAX_LENGTH]
        lengths = np.array([len(word) for word in words], np.int64)
        if not words:
            return {}
        ends = np.cumsum(lengths + 1) - 1
        starts = ends - lengths
        arcs = self._arcs("".join(words), lengths)
        single = np.bincount(arcs.before[arcs.after - arcs.before == 1], minlength=int(ends[-1]) + 1)
        spelled = np.add.reduceat(single, starts) == lengths
        before, piece = self._best(arcs, starts, len(single))
        parts = self._parts(before, piece, ends[spelled], starts[spelled])
        return dict(zip(compress(words, spelled.tolist()), parts, strict=True))

    def _arcs(self, text: str, lengths: Integers) -> Arcs:
        """All pieces in all words, by place in the word, then by length."""
        codes = code_points(text)
        places = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        states = np.arange(len(codes)) + np.repeat(np.arange(len(lengths)), lengths)
        left = np.repeat(lengths, lengths) - places
        alive, nodes = np.arange(len(codes)), self._table.step(np.zeros_like(codes), codes)
        found: list[tuple[Integers, ...]] = []
        for length in range(1, MAX_LENGTH + 1):
            piece = self._table.piece[nodes]
            is_piece = piece >= 0
            at = alive[is_piece]
            found.append((states[at], states[at] + length, piece[is_piece], places[at] * MAX_LENGTH + length - 1))
            goes_on = (nodes > 0) & (left[alive] > length)
            alive, nodes = alive[goes_on], nodes[goes_on]
            nodes = self._table.step(nodes, codes[alive + length])
        arcs = Arcs(*map(np.concatenate, zip(*found, strict=True)))
        order = np.argsort(arcs.turn, kind="stable")
        return Arcs(arcs.before[order], arcs.after[order], arcs.piece[order], arcs.turn[order])

    def _best(self, arcs: Arcs, starts: Integers, num_states: int) -> tuple[Integers, Integers]:
        """The state before each state on the best way there, and the piece between. starts: the words' first states."""
        best = np.full(num_states, -np.inf)
        best[starts] = 0.0
        before, piece = np.zeros(num_states, np.int64), np.zeros(num_states, np.int64)
        bounds = [0, *(np.flatnonzero(np.diff(arcs.turn)) + 1).tolist(), len(arcs.turn)]
        for start, stop in pairwise(bounds):  # no two arcs of a turn are in one word
            source, target, taken = arcs.before[start:stop], arcs.after[start:stop], arcs.piece[start:stop]
            score = best[source] + self._scores[taken]
            better = score > best[target]
            target = target[better]
            best[target], before[target], piece[target] = score[better], source[better], taken[better]
        return before, piece

    def _parts(self, before: Integers, piece: Integers, states: Integers, starts: Integers) -> list[tuple[int, ...]]:
        """The ids on the ways that end in `states`."""
        columns: list[Integers] = []
        walking = states > starts
        while walking.any():
            columns.append(np.where(walking, piece[states], -1))
            states = np.where(walking, before[states], states)
            walking = states > starts
        if not columns:
            return []
        table = np.stack(columns[::-1], axis=1)
        ids = self._ids[table[table >= 0]].tolist()
        bounds = np.cumsum((table >= 0).sum(axis=1)).tolist()
        return [tuple(ids[start:stop]) for start, stop in pairwise([0, *bounds])]
