"""The conformance kit on a small vocabulary with byte pieces."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest

from realizar.model import TokenizerSpec
from realizar.testing import TokenizerConformance
from realizar.tokenizers import Tokenizer
from realizar_sentencepiece.plugin import realizar_tokenizers


class TestBpe(TokenizerConformance):
    """BPE by scores, no added space, as Gemma has it."""

    changes: ClassVar[dict[str, Any]] = {"model": "spm", "add_space_prefix": False}

    @pytest.fixture(autouse=True)
    def vocabulary(self, small: TokenizerSpec) -> None:
        self.small = small

    def make_tokenizer(self) -> Tokenizer:
        (factory,) = realizar_tokenizers()
        spec = attrs.evolve(self.small, **self.changes)
        assert factory.supports(spec) > 0
        return factory.build(spec)


class TestBpeWithAddedSpace(TestBpe):
    """The same with a space before every text: ids spell one more than the text has."""

    reversible = False
    changes = {"model": "spm", "add_eos_token": True}


class TestUnigram(TestBpe):
    """Unigram over the same pieces."""

    changes = {"model": "unigram", "add_space_prefix": False}


class TestUnigramThinned(TestBpe):
    """Unigram with an added space and none to spare, as T5 and XLM-R have it."""

    reversible = False
    changes = {"model": "unigram", "remove_extra_whitespaces": True, "add_eos_token": True, "add_bos_token": False}


class TestWithoutBytes(TestBpe):
    """What the vocabulary lacks is unknown."""

    reversible = False

    @pytest.fixture(autouse=True)
    def vocabulary(self, without_bytes: TokenizerSpec) -> None:
        self.small = without_bytes
