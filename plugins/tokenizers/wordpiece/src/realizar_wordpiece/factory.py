"""Which specifications this plugin understands."""

from __future__ import annotations

from typing import ClassVar

from realizar.model import TokenizerSpec
from realizar.pipeline.word_model import WordModel
from realizar.tokenizers import Tokenizer, TokenizerFactory
from realizar_wordpiece.model import WordPieceModel
from realizar_wordpiece.tokenizer import WordPieceTokenizer

WORDPIECE_SCORE = 100


class WordPieceTokenizerFactory(TokenizerFactory):
    """Builds WordPiece tokenizers."""

    name: ClassVar[str] = "wordpiece"

    def supports(self, spec: TokenizerSpec) -> int:
        """100 for `model` "wordpiece"."""
        return WORDPIECE_SCORE if spec.model == "wordpiece" else 0

    def build(self, spec: TokenizerSpec) -> Tokenizer:
        """The tokenizer; raises TokenizerError naming what is wrong with the vocabulary."""
        return WordPieceTokenizer(spec)

    def build_model(self, spec: TokenizerSpec) -> WordModel:
        """The model of a tokenizer.json; raises TokenizerError naming a broken table."""
        return WordPieceModel(spec)
