"""Which specifications this plugin understands."""

from __future__ import annotations

from typing import ClassVar

from realizar.model import TokenizerSpec
from realizar.pipeline.word_model import WordModel
from realizar.tokenizers import Tokenizer, TokenizerFactory

SENTENCEPIECE_SCORE = 100
MODELS = ("spm", "unigram")


class SentencePieceTokenizerFactory(TokenizerFactory):
    """Builds SentencePiece tokenizers."""

    name: ClassVar[str] = "sentencepiece"

    def supports(self, spec: TokenizerSpec) -> int:
        """100 for `model` "spm" or "unigram", 0 for others."""
        return SENTENCEPIECE_SCORE if spec.model in MODELS else 0

    def build(self, spec: TokenizerSpec) -> Tokenizer:
        """The tokenizer; raises TokenizerError naming a missing table, a broken piece or a broken rule."""
        from realizar_sentencepiece.tokenizer import SentencePieceTokenizer  # NumPy only when a tokenizer is built

        return SentencePieceTokenizer(spec)

    def build_model(self, spec: TokenizerSpec) -> WordModel:
        """The model of a tokenizer.json; raises TokenizerError naming a broken table."""
        from realizar_sentencepiece.word_model import PipelineModel

        return PipelineModel(spec)
