"""WordPiece as the model of a tokenizer.json, where the pipeline has cut and folded the words.

Source: tokenizers `models/wordpiece/mod.rs`.
"""

from __future__ import annotations

from collections.abc import Sequence

from realizar.errors import TokenizerError
from realizar.model import NORMAL, TokenizerSpec
from realizar.pipeline.pipeline import ModelOptions
from realizar.pipeline.word_model import WordModel
from realizar_wordpiece.pieces import longest_pieces, unknown_id


class WordPieceModel(WordModel):
    """The longest pieces first. Every piece may begin a word, marked or not, as in `tokenizers`.

    Raises TokenizerError where the types do not fit the tokens.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        self._options = spec.pipeline.options if spec.pipeline else ModelOptions(spec.unk_token_id)
        self._source = spec.source
        types = [NORMAL] * len(spec.tokens) if spec.token_types is None else spec.token_types
        if len(types) != len(spec.tokens):
            raise TokenizerError(
                f"{spec.source}: {len(types)} token types for {len(spec.tokens)} tokens; the counts must be equal"
            )
        prefix = self._options.continuing_subword_prefix
        self._beginnings = {piece: i for i, piece in enumerate(spec.tokens) if types[i] == NORMAL}
        self._continuations = {
            piece.removeprefix(prefix): i for piece, i in self._beginnings.items() if piece.startswith(prefix)
        }
        self._longest = max(map(len, self._beginnings), default=0)

    def word_ids(self, word: str) -> Sequence[int]:
        """See WordModel; a word that no pieces spell, or a longer one than the file allows, is the unknown token."""
        if len(word) <= self._options.max_input_chars_per_word:
            ids = longest_pieces(word, self._beginnings, self._continuations, self._longest)
            if ids is not None:
                return ids
        return (unknown_id(word, self._options.unk_token_id, self._source),)
