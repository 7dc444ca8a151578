"""SentencePiece's models as the model of a tokenizer.json, where normalizing and added tokens are the pipeline's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain

import attrs

from realizar.model import TokenizerSpec
from realizar.pipeline.word_model import WordModel
from realizar_sentencepiece.models import BpeModel
from realizar_sentencepiece.unigram import UNKNOWN_PENALTY, Unigram
from realizar_sentencepiece.vocabulary import Vocabulary
from realizar_sentencepiece.words import WordCutter

SHORT = 64
"""Characters of a word that is remembered; a longer one, as a text without pre-tokenizers is, may have cuts."""
CACHED_WORDS = 1 << 17


class PipelineModel(WordModel):
    """Pieces of words to ids; a run of unknown ones is the bytes of each, or one unknown token."""

    def __init__(self, spec: TokenizerSpec) -> None:
        self._vocabulary = vocabulary = Vocabulary(attrs.evolve(spec, add_bos_token=False, add_eos_token=False))
        hidden = vocabulary.user_defined.keys() | vocabulary.unused
        self._ids = {piece: i for piece, i in vocabulary.ids.items() if piece not in hidden}
        self._cut = WordCutter(self._ids)
        self._segment: Callable[[str], Sequence[str]]
        if spec.model == "unigram":
            unknown = min(spec.scores or (), default=0.0) - UNKNOWN_PENALTY
            self._segment = Unigram({piece: vocabulary.scores[piece] for piece in self._ids}, unknown)
        else:
            self._segment = BpeModel(vocabulary).segment
        self._short_pieces = lru_cache(CACHED_WORDS)(self._segment)

    def word_ids(self, word: str) -> Sequence[int]:
        """See WordModel; cuts that no piece reaches over change nothing."""
        parts = [word] if len(word) <= SHORT else self._cut(word)
        return self._ids_of(chain.from_iterable(map(self._pieces, parts)))

    def _pieces(self, part: str) -> Sequence[str]:
        return self._short_pieces(part) if len(part) <= SHORT else self._segment(part)

    def _ids_of(self, pieces: Iterable[str]) -> tuple[int, ...]:
        ids: list[int] = []
        follows_unknown = False
        for piece in pieces:
            known = self._ids.get(piece)
            if known is not None:
                ids.append(known)
            elif self._vocabulary.byte_ids or not follows_unknown:
                ids += self._vocabulary.unknown_ids(piece)
            follows_unknown = known is None
        return tuple(ids)
