"""Decoding token by token. Tokens are whole characters, so nothing is ever held back.

Where spaces go is Hugging Face `tokenizers`' decoder for WordPiece with its clean-up, which is what BERT's files ask
for: what a tokenizer did to a text cannot be undone, only made readable.
"""

from __future__ import annotations

from realizar.tokenizers import StreamDecoder
from realizar_wordpiece.vocabulary import Vocabulary

CLOSE_UP = (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")
"""What follows a word without a space."""


class WordStreamDecoder(StreamDecoder):
    """Puts a space before every piece that begins a word but the first; constant cost per token."""

    def __init__(self, vocabulary: Vocabulary, skip_special_tokens: bool) -> None:
        self._vocabulary, self._skips = vocabulary, skip_special_tokens
        self._started = False

    def push(self, token_id: int) -> str:
        """The text of this id, with the space before it."""
        v = self._vocabulary
        v.prove(token_id)
        if self._skips and v.is_special(token_id):
            return ""
        text = v.texts[token_id]
        first, self._started = not self._started, True
        return text if first or v.continues[token_id] or text.startswith(CLOSE_UP) else f" {text}"

    def finish(self) -> str:
        """Nothing is left; the decoder is then as new."""
        self._started = False
        return ""
