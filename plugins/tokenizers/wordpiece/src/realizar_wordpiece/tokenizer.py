"""Text to ids and back with WordPiece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from realizar.added_tokens import AddedTokens
from realizar.model import TokenizerSpec
from realizar.tokenizers import StreamDecoder, Tokenizer
from realizar_wordpiece.pieces import longest_pieces, unknown_id
from realizar_wordpiece.stream import WordStreamDecoder
from realizar_wordpiece.vocabulary import Vocabulary
from realizar_wordpiece.words import BasicTokenizer

CACHED_WORDS = 1 << 16


class WordPieceTokenizer(Tokenizer):
    """Added tokens, then words, then the longest pieces that spell each. Safe to share between threads."""

    def __init__(self, spec: TokenizerSpec) -> None:
        self.spec = spec
        self._vocabulary = Vocabulary(spec)
        self._basic = BasicTokenizer(spec)
        self._cached_word_ids = lru_cache(CACHED_WORDS)(self._word_ids)
        self._added = AddedTokens(self._vocabulary.user_defined, spec.source)
        self._added_or_special = AddedTokens(self._vocabulary.user_defined | self._vocabulary.special, spec.source)

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`; linear in its length.

        A word that the vocabulary cannot spell, or a longer one than max_input_chars_per_word, is the unknown token;
        raises TokenizerError if there is none.
        """
        ids = list(self._ids(text, parse_special))
        return [*self._vocabulary.bos_ids, *ids, *self._vocabulary.eos_ids] if add_special_tokens else ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`: words with a space between, but none before the signs that end a sentence."""
        stream = self.stream(skip_special_tokens=skip_special_tokens)
        return "".join(map(stream.push, ids))

    def stream(self, *, skip_special_tokens: bool = True) -> StreamDecoder:
        """A decoder whose pushed pieces concatenate to `decode` of all ids."""
        return WordStreamDecoder(self._vocabulary, skip_special_tokens)

    def token_bytes(self, token_id: int) -> bytes:
        """The text of a piece in UTF-8, without the mark of its place in a word."""
        self._vocabulary.prove(token_id)
        return self._vocabulary.texts[token_id].encode("utf-8", "surrogatepass")

    def _ids(self, text: str, parse_special: bool) -> Iterator[int]:
        added = self._added_or_special if parse_special else self._added
        for part in added.split(text):
            if isinstance(part, int):
                yield part
                continue
            for word in self._basic.words(part):
                if len(word) > self.spec.max_input_chars_per_word:
                    yield self._unknown(word)
                else:
                    yield from self._cached_word_ids(word)

    def _word_ids(self, word: str) -> tuple[int, ...]:
        v = self._vocabulary
        ids = longest_pieces(word, v.beginnings, v.continuations, v.longest)
        return (self._unknown(word),) if ids is None else ids

    def _unknown(self, word: str) -> int:
        return unknown_id(word, self.spec.unk_token_id, self.spec.source)
