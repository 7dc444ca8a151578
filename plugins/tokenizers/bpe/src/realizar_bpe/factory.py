"""Which specifications this plugin understands."""

from __future__ import annotations

from typing import ClassVar

from realizar.model import TokenizerSpec
from realizar.pipeline.word_model import WordModel
from realizar.tokenizers import Tokenizer, TokenizerFactory

BYTE_LEVEL_BPE_SCORE = 100


class BpeTokenizerFactory(TokenizerFactory):
    """Builds byte-level BPE tokenizers."""

    name: ClassVar[str] = "bpe"

    def supports(self, spec: TokenizerSpec) -> int:
        """100 for `model` "bpe", whatever its pre-tokenizer: of an unknown one `build` says more than "no plugin"."""
        return BYTE_LEVEL_BPE_SCORE if spec.model == "bpe" else 0

    def build(self, spec: TokenizerSpec) -> Tokenizer:
        """The tokenizer; raises TokenizerError naming an unknown pre-tokenizer, a missing table or a broken merge."""
        from realizar_bpe.tokenizer import BpeTokenizer  # `regex` is loaded only when a tokenizer is built

        return BpeTokenizer(spec)

    def build_model(self, spec: TokenizerSpec) -> WordModel:
        """The model of a tokenizer.json; raises TokenizerError naming a broken table."""
        from realizar_bpe.model import BpeModel

        return BpeModel(spec)
