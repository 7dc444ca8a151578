"""Guessing the next tokens, so that one step can prove several; a wrong guess costs time and changes nothing.

The model computes the guesses after the last token in one step, and each of its rows is sampled as if the step had been
for it alone, as long as what is sampled is what was guessed. Source: Leviathan et al. 2023, arXiv:2211.17192, reduced
to the case where draws are fixed by seed and position: then equality is all there is to accept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from weakref import WeakKeyDictionary

from realizar.engine.sequence import Sequence

LONGEST, SHORTEST = 4, 2
"""Lengths of what `PromptLookup` looks for, in tokens."""


class Proposer(ABC):
    """Guesses how decoding sequences go on; called on the engine's thread."""

    @abstractmethod
    def propose(self, sequences: list[Sequence], count: int) -> list[list[int]]:
        """For each of all decoding sequences up to `count` tokens, none if there is no guess."""


class PromptLookup(Proposer):
    """Guesses that what followed the last few tokens before will follow them again.

    Source: Saxena 2023, "Prompt Lookup Decoding". The longest run of tokens decides, and its last occurrence.
    """

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[Sequence, _Runs] = WeakKeyDictionary()

    def propose(self, sequences: list[Sequence], count: int) -> list[list[int]]:
        return [self._runs(sequence).following(sequence.token_ids, count) for sequence in sequences]

    def _runs(self, sequence: Sequence) -> _Runs:
        runs = self._seen.get(sequence)
        if runs is None:
            runs = self._seen[sequence] = _Runs()
        return runs


class _Runs:
    """Where each run of tokens of a text was last followed by something."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        self._known = 0

    def following(self, ids: list[int], count: int) -> list[int]:
        for end in range(max(self._known, SHORTEST), len(ids)):
            for length in range(SHORTEST, min(LONGEST, end) + 1):
                self._ends[tuple(ids[end - length : end])] = end
        self._known = len(ids)
        for length in range(min(LONGEST, len(ids)), SHORTEST - 1, -1):
            found = self._ends.get(tuple(ids[-length:]))
            if found is not None:
                return ids[found : found + count]
        return []
