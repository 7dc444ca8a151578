"""The ids of words, remembered: words between spaces are made of the parts that `WordCutter` cuts, and both repeat."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import chain

from realizar_sentencepiece.models import Model
from realizar_sentencepiece.vocabulary import Vocabulary
from realizar_sentencepiece.words import WordCutter

CACHED_WORDS = 1 << 17
CACHED_WORD_LENGTH = 64
"""Characters; longer words repeat too seldom to be worth their room."""

MANY_WORDS = 4096
"""New parts from which on it pays to segment them together."""


class _Remembered(dict[str, Sequence[int]]):
    """The ids of each word, worked out when first asked for; words too long to come again are not kept."""

    def __missing__(self, word: str) -> Sequence[int]:
        ids = tuple(self.work_out(word))
        if len(word) <= CACHED_WORD_LENGTH:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids

    @abstractmethod
    def work_out(self, word: str) -> Iterable[int]:
        """The ids of a word that is not remembered."""

    def new(self, words: Iterable[str]) -> list[str]:
        """Those of `words` that are to be remembered and are not, each once; all of them where there is no room."""
        short = [word for word in set(words) if len(word) <= CACHED_WORD_LENGTH]
        new = [word for word in short if word not in self]
        if len(self) + len(new) > CACHED_WORDS:
            self.clear()
            return short
        return new


class PartIds(_Remembered):
    """The ids of parts: what the model makes of each."""

    def __init__(self, model: Model, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._model, self._vocabulary = model, vocabulary

    def learn(self, parts: Sequence[str]) -> None:
        """Work out many parts together, if so many of `parts` are new that it pays."""
        if len(parts) >= MANY_WORDS:
            new = self.new(parts)
            if len(new) >= MANY_WORDS:
                self.update(self._model.segment_many(new))

    def work_out(self, word: str) -> Iterable[int]:
        """See _Remembered; of an unknown piece its bytes, or the unknown token."""
        for piece in self._model.segment(word):
            known = self._model.ids.get(piece)
            yield from self._vocabulary.unknown_ids(piece) if known is None else (known,)


class WordIds(_Remembered):
    """The ids of words between spaces, one after the other those of their parts."""

    def __init__(self, cut: WordCutter, parts: PartIds) -> None:
        super().__init__()
        self._cut, self._parts = cut, parts

    def of(self, words: Sequence[str]) -> Iterable[int]:
        """The ids of all `words` in a row."""
        new = self.new(words)
        if len(new) > 1:  # cut together
            parts = self._cut.each(new)
            self._parts.learn([*chain.from_iterable(parts)])
            self.update(zip(new, map(self._joined, parts), strict=True))
        return chain.from_iterable(map(self.__getitem__, words))

    def work_out(self, word: str) -> Iterable[int]:
        """See _Remembered."""
        parts = self._cut(word)
        self._parts.learn(parts)
        return self._joined(parts)

    def _joined(self, parts: Iterable[str]) -> tuple[int, ...]:
        return tuple(chain.from_iterable(map(self._parts.__getitem__, parts)))
