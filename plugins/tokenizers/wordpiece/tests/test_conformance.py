"""The conformance kit on WordPiece, in both spellings."""

from __future__ import annotations

import pytest

from realizar.model import TokenizerSpec
from realizar.testing import TokenizerConformance
from realizar.tokenizers import Tokenizer
from realizar_wordpiece.plugin import realizar_tokenizers


class TestWordPiece(TokenizerConformance):
    """BERT's own spelling. Not reversible: capitals, accents and spaces are folded, strange words are unknown."""

    reversible = False

    @pytest.fixture(autouse=True)
    def specification(self, small: TokenizerSpec) -> None:
        self.spec = small

    def make_tokenizer(self) -> Tokenizer:
        (factory,) = realizar_tokenizers()
        return factory.build(self.spec)


class TestGguf(TestWordPiece):
    """The spelling of GGUF files."""

    @pytest.fixture(autouse=True)
    def specification(self, small_gguf: TokenizerSpec) -> None:
        self.spec = small_gguf
