"""Text to ids and back with a SentencePiece vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from realizar.added_tokens import AddedTokens
from realizar.errors import TokenizerError
from realizar.model import TokenizerSpec
from realizar.tokenizers import StreamDecoder, Tokenizer
from realizar_sentencepiece.models import MODELS, Model
from realizar_sentencepiece.normalizer import Normalizer
from realizar_sentencepiece.stream import SentencePieceStreamDecoder, Spelling
from realizar_sentencepiece.vocabulary import Vocabulary
from realizar_sentencepiece.words import WordCutter

CACHED_WORDS = 1 << 17
CACHED_WORD_LENGTH = 64
"""Characters; longer words repeat too seldom to be worth their room."""

MANY_WORDS = 4096
"""New words from which on it pays to segment them together."""


class SentencePieceTokenizer(Tokenizer):
    """Added tokens, then normalization, then words, then segmentation. Safe to share between threads."""

    def __init__(self, spec: TokenizerSpec) -> None:
        self.spec = spec
        self._vocabulary = vocabulary = Vocabulary(spec)
        user_defined = {vocabulary.tokens[i]: i for i in vocabulary.user_defined.values()}
        always = user_defined if spec.split_user_defined else {}
        self._added = AddedTokens(always, spec.source)
        self._added_or_special = AddedTokens(always | vocabulary.special, spec.source)
        self._normalizer = Normalizer(spec, {} if spec.split_user_defined else user_defined)
        self._model = MODELS[spec.model](vocabulary)
        self._words = WordCutter(self._model.ids)
        self._word_ids = WordIds(self._model, vocabulary)

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`; linear in its length but for a logarithm in its longest word.

        add_special_tokens: add BOS/EOS as the file's own flags say.
        parse_special: text that spells a control token becomes that token; otherwise it is plain text.
        Raises TokenizerError if the vocabulary can spell neither a character nor its bytes and has no unknown token,
        or the text has a lone surrogate.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"the text has a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}; it is no "
                f"Unicode text: decode it from its bytes with errors='replace' first"
            ) from error
        ids = list(self._vocabulary.bos_ids) if add_special_tokens else []
        for part in self._split(text, parse_special):
            ids += part
        if add_special_tokens:
            ids += self._vocabulary.eos_ids
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`, without the space that encoding put before it; a broken byte becomes U+FFFD.

        Raises TokenizerError for an id outside the vocabulary.
        """
        return self._spelling(skip_special_tokens).text(ids)

    def stream(self, *, skip_special_tokens: bool = True) -> StreamDecoder:
        """A decoder whose pushed pieces concatenate to `decode` of all ids."""
        return SentencePieceStreamDecoder(self._spelling(skip_special_tokens))

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for inside a text; a control token's are its spelling in UTF-8."""
        return self._vocabulary.piece_bytes(token_id)

    def _spelling(self, skip_special_tokens: bool) -> Spelling:
        strips_all = self.spec.remove_extra_whitespaces
        return Spelling(self._vocabulary, skip_special_tokens, strips_all or self.spec.add_space_prefix, strips_all)

    def _split(self, text: str, parse_special: bool) -> Iterator[Sequence[int]]:
        added = self._added_or_special if parse_special else self._added
        prefix = True
        for part in added.split(text):
            if isinstance(part, int):
                yield (part,)
            else:
                yield self._part_ids(self._normalizer(part, prefix=prefix))
            prefix = self.spec.prepend_scheme == "always"

    def _part_ids(self, normalized: str) -> Sequence[int]:
        ids: list[int] = []
        for part in self._model.whole.split(normalized):
            if isinstance(part, int):
                ids.append(part)
                continue
            words = self._words(part)
            self._word_ids.learn(words)
            ids += chain.from_iterable(map(self._word_ids.__getitem__, words))
        return ids if self._vocabulary.byte_ids else _without_runs(ids, self._vocabulary.unk_id)


def _without_runs(ids: list[int], unk_id: int | None) -> list[int]:
    """`ids` with one `unk_id` for each run of them."""
    if unk_id not in ids:
        return ids
    kept = np.array(ids)
    is_unknown = kept == unk_id
    is_unknown[1:] &= is_unknown[:-1].copy()
    is_unknown[0] = False
    kept_ids: list[int] = kept[~is_unknown].tolist()
    return kept_ids


class WordIds(dict[str, Sequence[int]]):
    """The ids of each word, worked out when first asked for; words too long to come again are not kept."""

    def __init__(self, model: Model, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._model = model
        self._vocabulary = vocabulary

    def learn(self, words: Sequence[str]) -> None:
        """Work out many words together, if so many of `words` are new that it pays."""
        if len(words) < MANY_WORDS:
            return
        new = set(words) - self.keys()
        if len(self) + len(new) > CACHED_WORDS:
            self.clear()
            new = set(words)
        if len(new) >= MANY_WORDS:
            self.update(self._model.segment_many(new))

    def __missing__(self, word: str) -> Sequence[int]:
        ids: list[int] = []
        for piece in self._model.segment(word):
            known = self._model.ids.get(piece)
            ids += self._vocabulary.unknown_ids(piece) if known is None else (known,)
        if len(word) <= CACHED_WORD_LENGTH:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[word] = tuple(ids)
        return ids
