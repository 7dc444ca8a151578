"""Text to ids and back with byte-level BPE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from realizar.added_tokens import AddedTokens
from realizar.errors import TokenizerError
from realizar.model import TokenizerSpec
from realizar.pipeline.byte_alphabet import CHAR_TO_BYTE, spell
from realizar.tokenizers import StreamDecoder, Tokenizer
from realizar_bpe.merges import merge
from realizar_bpe.pretokenizers import pre_tokenizer
from realizar_bpe.stream import Utf8StreamDecoder
from realizar_bpe.vocabulary import Vocabulary

CACHED_WORDS = 1 << 16
CACHED_WORD_LENGTH = 64
"""Characters; longer words repeat too seldom to be worth their room."""


class BpeTokenizer(Tokenizer):
    """Byte-level BPE: added tokens, then words, then bytes, then merges. Safe to share between threads."""

    def __init__(self, spec: TokenizerSpec) -> None:
        self.spec = spec
        self._vocabulary = Vocabulary(spec)
        self._pre_tokenizer = pre_tokenizer(spec.pre, spec.source)
        self._words = self._pre_tokenizer.compile()
        self._cached_word_ids = lru_cache(CACHED_WORDS)(self._word_ids)
        self._added = AddedTokens(self._vocabulary.user_defined, spec.source)
        self._added_or_special = AddedTokens(self._vocabulary.user_defined | self._vocabulary.special, spec.source)
        self._spelled = _PieceBytes(self._vocabulary.piece_bytes)
        self._visible = _PieceBytes(self._visible_bytes)

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`; linear in its length but for a logarithm in its longest word.

        add_special_tokens: add BOS/EOS as the file's own flags say.
        parse_special: text that spells a control token becomes that token; otherwise it is plain text.
        Raises TokenizerError if the vocabulary lacks a byte of the text, or the text has a lone surrogate.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"the text has a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}; it is no "
                f"Unicode text: decode it from its bytes with errors='replace' first"
            ) from error
        ids = [i for part in self._split(text, parse_special) for i in part]
        if add_special_tokens:
            return [*self._vocabulary.bos_ids, *ids, *self._vocabulary.eos_ids]
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`; invalid UTF-8 becomes U+FFFD. Raises TokenizerError for an id outside the vocabulary."""
        pieces = self._visible if skip_special_tokens else self._spelled
        return b"".join(map(pieces.__getitem__, ids)).decode(errors="replace")

    def stream(self, *, skip_special_tokens: bool = True) -> StreamDecoder:
        """A decoder whose pushed pieces concatenate to `decode` of all ids."""
        return Utf8StreamDecoder((self._visible if skip_special_tokens else self._spelled).__getitem__)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; an added token's are its spelling in UTF-8."""
        return self._spelled[token_id]

    def _split(self, text: str, parse_special: bool) -> Iterator[Sequence[int]]:
        added = self._added_or_special if parse_special else self._added
        for part in added.split(text):
            if isinstance(part, int):
                yield (part,)
                continue
            for word in self._words(part):
                yield self._cached_word_ids(word) if len(word) <= CACHED_WORD_LENGTH else self._word_ids(word)

    def _word_ids(self, word: str) -> Sequence[int]:
        ids = self._vocabulary.ids
        spelling = spell(word.encode())
        if self._pre_tokenizer.ignore_merges and spelling in ids:
            return (ids[spelling],)
        try:
            return tuple([ids[piece] for piece in merge(spelling, self._vocabulary.ranks)])
        except KeyError as error:
            missing = CHAR_TO_BYTE[error.args[0]]
            raise TokenizerError(
                f"{self.spec.source}: the vocabulary has no token for byte 0x{missing:02X}, which the word "
                f"{word[:40]!r} needs; the text cannot be encoded with this model"
            ) from None

    def _visible_bytes(self, token_id: int) -> bytes:
        data = self._vocabulary.piece_bytes(token_id)
        return b"" if self._vocabulary.is_special(token_id) else data


class _PieceBytes(dict[int, bytes]):
    """The bytes of each id, worked out when first asked for."""

    def __init__(self, piece_bytes: Callable[[int], bytes]) -> None:
        super().__init__()
        self._piece_bytes = piece_bytes

    def __missing__(self, token_id: int) -> bytes:
        data = self[token_id] = self._piece_bytes(token_id)
        return data
