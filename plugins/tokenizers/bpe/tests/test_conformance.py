"""The conformance kit on byte-level BPE, for every pre-tokenizer it has."""

from __future__ import annotations

from typing import ClassVar

import attrs

from realizar.testing import TokenizerConformance
from realizar.testing.vocabulary import tiny_tokenizer
from realizar.tokenizers import Tokenizer
from realizar_bpe.plugin import realizar_tokenizers


class TestGpt2(TokenizerConformance):
    """The tiny vocabulary, cut into words by GPT-2's rule."""

    pre: ClassVar[str] = "gpt-2"

    def make_tokenizer(self) -> Tokenizer:
        (factory,) = realizar_tokenizers()
        spec = attrs.evolve(tiny_tokenizer(), pre=self.pre)
        assert factory.supports(spec) > 0
        return factory.build(spec)


class TestLlama3(TestGpt2):
    """The same by Llama 3's rule, with EOS asked for too."""

    pre = "llama-bpe"

    def make_tokenizer(self) -> Tokenizer:
        (factory,) = realizar_tokenizers()
        return factory.build(attrs.evolve(tiny_tokenizer(), pre=self.pre, add_eos_token=True))


class TestQwen2(TestGpt2):
    """The same by Qwen2's rule."""

    pre = "qwen2"


class TestSmolLM(TestGpt2):
    """The same by SmolLM's rule."""

    pre = "smollm"


class TestDefault(TestGpt2):
    """The same by llama.cpp's default rule."""

    pre = "default"
