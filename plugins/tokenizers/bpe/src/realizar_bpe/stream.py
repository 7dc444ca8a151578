"""Decoding token by token: bytes wait until they are whole characters."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from realizar.tokenizers import StreamDecoder

_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class Utf8StreamDecoder(StreamDecoder):
    """Feeds the bytes of each token to an incremental UTF-8 decoder; constant cost per token.

    piece_bytes: the bytes of an id, empty for one that is skipped; raises TokenizerError for an unknown id.
    """

    def __init__(self, piece_bytes: Callable[[int], bytes]) -> None:
        self._piece_bytes = piece_bytes
        self._utf8 = _new_utf8_decoder(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that became certain with this id; may be empty."""
        return self._utf8.decode(self._piece_bytes(token_id))

    def finish(self) -> str:
        """What is left; an incomplete character becomes U+FFFD. The decoder is then as new."""
        return self._utf8.decode(b"", final=True)
