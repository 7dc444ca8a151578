"""Decoding token by token: bytes wait until they are whole characters, and the space that encoding added goes."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

import attrs

from realizar.tokenizers import StreamDecoder
from realizar_sentencepiece.vocabulary import Vocabulary

BYTE_BY_BYTE = "realizar_sentencepiece.byte_by_byte"
"""The error handler that gives U+FFFD for each byte of a broken character, as SentencePiece does."""


def _replace_byte_by_byte(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error(BYTE_BY_BYTE, _replace_byte_by_byte)
_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


@attrs.frozen
class Spelling:
    """The bytes of ids in a text.

    skip_special_tokens: special tokens spell nothing.
    strips_space: whether encoding may have put a space before the text, which decoding takes away.
    strips_all: a first token that was only that space does not end the search for spaces.
    """

    vocabulary: Vocabulary
    skip_special_tokens: bool
    strips_space: bool
    strips_all: bool

    def of(self, token_id: int) -> bytes:
        """The bytes of an id inside a text; raises TokenizerError outside the vocabulary."""
        if self.skip_special_tokens and self.vocabulary.is_special(token_id):
            return b""
        return self.vocabulary.piece_bytes(token_id)

    def first(self, token_id: int) -> tuple[bytes, bool]:
        """The bytes of an id before which there is no text, and whether the next id still has none before it."""
        data = self.of(token_id)
        if self.strips_space and data.startswith(b" ") and not self.vocabulary.is_byte(token_id):
            return data[1:], self.strips_all and len(data) == 1
        return data, not data

    def text(self, ids: Iterable[int]) -> str:
        """The text of all `ids`."""
        remaining, parts = iter(ids), list[bytes]()
        for token_id in remaining:
            data, at_start = self.first(token_id)
            parts.append(data)
            if not at_start:
                break
        parts.extend(map(self.of, remaining))
        return b"".join(parts).decode("utf-8", BYTE_BY_BYTE)


class SentencePieceStreamDecoder(StreamDecoder):
    """Feeds the bytes of each token to an incremental UTF-8 decoder; constant cost per token."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._utf8 = _new_utf8_decoder(BYTE_BY_BYTE)
        self._at_start = True

    def push(self, token_id: int) -> str:
        """The text that became certain with this id; may be empty."""
        if self._at_start:
            data, self._at_start = self._spelling.first(token_id)
        else:
            data = self._spelling.of(token_id)
        return self._utf8.decode(data)

    def finish(self) -> str:
        """What is left; each byte of an incomplete character becomes U+FFFD. The decoder is then as new."""
        self._at_start = True
        return self._utf8.decode(b"", final=True)
