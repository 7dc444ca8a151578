"""What a tokenizer plugin gives to a pipeline: ids for words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence


class WordModel(ABC):
    """The model of a tokenizer.json: BPE, Unigram or WordPiece."""

    @abstractmethod
    def word_ids(self, word: str) -> Sequence[int]:
        """The ids of a word as the pre-tokenizers leave it, which may be a whole text.

        Raises TokenizerError if the vocabulary can spell the word in no way. No control token comes of a word.
        """
