"""The two models of SentencePiece: what a word's pieces are, and which pieces it may have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

from realizar.added_tokens import AddedTokens
from realizar.model import NORMAL
from realizar_sentencepiece.lattice import Lattice
from realizar_sentencepiece.merges import merge, ranks_by_score
from realizar_sentencepiece.unigram import UNKNOWN_PENALTY, Unigram
from realizar_sentencepiece.vocabulary import Vocabulary

USER_DEFINED_BONUS = 0.1
"""Score of each byte but one of a user-defined piece in a unigram model, as in SentencePiece 0.2.3."""


class Model(ABC):
    """Segments words.

    ids: of the pieces that words may have.
    whole: user-defined pieces that are found in the normalized text before it is cut into words.
    """

    name: ClassVar[str]
    ids: Mapping[str, int]
    whole: AddedTokens

    @abstractmethod
    def segment(self, word: str) -> Sequence[str]:
        """The pieces of `word`; what is not among `ids` is unknown."""

    def segment_many(self, words: Collection[str]) -> Mapping[str, Sequence[int]]:
        """The ids of those of many different `words` that are cheaper to segment together; none unless overridden."""
        return {}


class BpeModel(Model):
    """BPE by scores, or by merges where a file has them instead.

    User-defined pieces are whole, unused ones only lead to longer ones.
    """

    name = "spm"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.whole = AddedTokens(vocabulary.user_defined, vocabulary.source)
        self.ids = {piece: i for piece, i in vocabulary.ids.items() if piece not in vocabulary.user_defined}
        if vocabulary.merges:
            self._ranks, self._between = vocabulary.merges, " "
        else:
            self._ranks, self._between = ranks_by_score({piece: vocabulary.scores[piece] for piece in self.ids}), ""
        self._unused = vocabulary.unused

    def segment(self, word: str) -> Sequence[str]:
        """See Model."""
        return merge(word, self._ranks, self._unused, self._between)


class UnigramModel(Model):
    """Unigram; user-defined pieces score above all normal ones, longer ones more; unused ones do not exist."""

    name = "unigram"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.whole = AddedTokens({}, vocabulary.source)
        self.ids = {piece: i for piece, i in vocabulary.ids.items() if piece not in vocabulary.unused}
        scores = {piece: vocabulary.scores[piece] for piece in self.ids}
        normal = [scores[piece] for piece, i in self.ids.items() if vocabulary.types[i] == NORMAL]
        for piece in vocabulary.user_defined:
            scores[piece] = USER_DEFINED_BONUS * (len(piece.encode()) - 1)
        self._scores = scores
        self._unigram = Unigram(scores, min(normal, default=0.0) - UNKNOWN_PENALTY)

    def segment(self, word: str) -> Sequence[str]:
        """See Model."""
        return self._unigram(word)

    def segment_many(self, words: Collection[str]) -> Mapping[str, Sequence[int]]:
        """See Model."""
        return self._lattice.segment(words)

    @cached_property
    def _lattice(self) -> Lattice:
        return Lattice(self._scores, self.ids)


MODELS = {model.name: model for model in (BpeModel, UnigramModel)}
