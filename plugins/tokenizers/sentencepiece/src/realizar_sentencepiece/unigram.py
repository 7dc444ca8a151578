"""The most probable segmentation of a word. Source: Kudo 2018, arXiv:1804.10959; SentencePiece `unigram_model.cc`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf

UNKNOWN_PENALTY = 10.0
"""How far a character that no piece spells lies below the worst piece."""


class Unigram:
    """Viterbi over pieces. scores: log-probability of each piece; unknown: that of a character without a piece."""

    def __init__(self, scores: Mapping[str, float], unknown: float) -> None:
        self._scores, self._unknown = scores, unknown
        self._lengths = _lengths_by_start(scores)

    def __call__(self, word: str) -> list[str]:
        """The pieces of `word`; a character without a piece is one of its own.

        Of segmentations that score the same, the one whose last piece is longest wins, and so on towards the start.
        Sums are of 64 bits; SentencePiece's are of 32, so that it may break such a tie, or a near one, otherwise.
        """
        score_of, lengths_of, unknown, count = self._scores.get, self._lengths.get, self._unknown, len(word)
        best = [0.0] + [-inf] * count
        starts = [0] * (count + 1)
        for i in range(count):
            here, end = best[i], i + 1
            score = here + score_of(word[i], unknown)
            if score > best[end]:
                best[end], starts[end] = score, i
            for length in lengths_of(word[i : i + 2], ()):
                end = i + length
                if end > count:
                    break
                piece_score = score_of(word[i:end])
                if piece_score is not None and here + piece_score > best[end]:
                    best[end], starts[end] = here + piece_score, i
        return _pieces(word, starts)


def _lengths_by_start(pieces: Iterable[str]) -> dict[str, list[int]]:
    """The lengths of all longer pieces by their first two characters, the shortest first."""
    lengths: dict[str, set[int]] = {}
    for piece in pieces:
        if len(piece) > 1:
            lengths.setdefault(piece[:2], set()).add(len(piece))
    return {start: sorted(found) for start, found in lengths.items()}


def _pieces(word: str, starts: Sequence[int]) -> list[str]:
    pieces: list[str] = []
    end = len(word)
    while end:
        pieces.append(word[starts[end] : end])
        end = starts[end]
    return pieces[::-1]
