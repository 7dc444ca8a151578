"""Tokens to text as a structure sees them: byte by byte, nothing stripped and nothing put between."""

from __future__ import annotations

import codecs

from realizar.tokenizers import StreamDecoder, Tokenizer


class ByteStream(StreamDecoder):
    """Concatenates the bytes of tokens.

    A tokenizer's own decoder may drop the first space or put spaces between words; a text that must match a grammar
    is the bytes that the grammar admitted.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """See StreamDecoder."""
        return self._decoder.decode(self._token_bytes(token_id))

    def finish(self) -> str:
        """See StreamDecoder."""
        return self._decoder.decode(b"", True)
