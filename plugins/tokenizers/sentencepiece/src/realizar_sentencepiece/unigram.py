"""The most probable segmentation of a word. Source: Kudo 2018, arXiv:1804.10959; SentencePiece `unigram_model.cc`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

UNKNOWN_PENALTY = 10.0
"""How far a character that no piece spells lies below the worst piece."""

SCORE = ""
"""The key in a trie's node under which the score of the piece that ends there is kept."""

Node = dict[str, Any]
"""Next character -> Node; SCORE -> float."""


class Unigram:
    """Viterbi over pieces. scores: log-probability of each piece; unknown: that of a character without a piece."""

    def __init__(self, scores: Mapping[str, float], unknown: float) -> None:
        self._single = {piece: score for piece, score in scores.items() if len(piece) == 1}
        self._longer = _Tries({piece: score for piece, score in scores.items() if len(piece) > 1})
        self._unknown = unknown

    def __call__(self, word: str) -> list[str]:
        """The pieces of `word`; a character without a piece is one of its own.

        Of segmentations that score the same, the one whose last piece is longest wins, and so on towards the start.
        Sums are of 64 bits; SentencePiece's are of 32, so that it may break such a tie, or a near one, otherwise.
        """
        score_of, trie_of, unknown, count = self._single.get, self._longer.__getitem__, self._unknown, len(word)
        best = [0.0] + [-inf] * count
        starts = [0] * (count + 1)
        for i in range(count):
            here, end = best[i], i + 1
            score = here + score_of(word[i], unknown)
            if score > best[end]:
                best[end], starts[end] = score, i
            if end == count:
                break
            node = trie_of(word[i : i + 2])
            while node is not None:
                end += 1
                if SCORE in node and here + node[SCORE] > best[end]:
                    best[end], starts[end] = here + node[SCORE], i
                if end == count:
                    break
                node = node.get(word[end])
        return _pieces(word, starts)


class _Tries(dict[str, Node | None]):
    """A trie for each first two characters, made when first asked for: a text meets few of 250,000 pieces."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        super().__init__()
        self._scores = scores
        self._pieces: dict[str, list[str]] = {}
        for piece in scores:
            self._pieces.setdefault(piece[:2], []).append(piece)

    def __missing__(self, start: str) -> Node | None:
        if start not in self._pieces:
            return None
        trie: Node = {}
        for piece in self._pieces[start]:
            node = trie
            for char in piece[2:]:
                node = node.setdefault(char, {})
            node[SCORE] = self._scores[piece]
        self[start] = trie
        return trie


def _pieces(word: str, starts: Sequence[int]) -> list[str]:
    pieces: list[str] = []
    end = len(word)
    while end:
        pieces.append(word[starts[end] : end])
        end = starts[end]
    return pieces[::-1]
