"""The contract of a tokenizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from realizar.errors import TokenizerError
from realizar.model import TokenizerSpec
from realizar.pipeline.word_model import WordModel


class StreamDecoder(ABC):
    """Turns ids into text one at a time, never emitting half a character."""

    @abstractmethod
    def push(self, token_id: int) -> str:
        """The text that became certain with this id; may be empty."""

    @abstractmethod
    def finish(self) -> str:
        """What is left; an incomplete character becomes U+FFFD."""


class Tokenizer(ABC):
    """Text to ids and back."""

    spec: TokenizerSpec

    @abstractmethod
    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`.

        add_special_tokens: add BOS/EOS as the file's own flags say.
        parse_special: text that spells a control token becomes that token; otherwise it is plain text.
        Raises TokenizerError if the vocabulary cannot spell the text.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`; invalid UTF-8 becomes U+FFFD. Raises TokenizerError for an id outside the vocabulary."""

    @abstractmethod
    def stream(self, *, skip_special_tokens: bool = True) -> StreamDecoder:
        """A decoder whose pushed pieces concatenate to `decode` of all ids."""

    @abstractmethod
    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; a control token's are its spelling in UTF-8."""


class TokenizerFactory(ABC):
    """Builds tokenizers from specifications it understands."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0

    @abstractmethod
    def supports(self, spec: TokenizerSpec) -> int:
        """0 = cannot build this; higher wins."""

    @abstractmethod
    def build(self, spec: TokenizerSpec) -> Tokenizer:
        """The tokenizer; raises TokenizerError naming what it does not know (a pre-tokenizer, a missing table)."""

    def build_model(self, spec: TokenizerSpec) -> WordModel:
        """The model alone, for a `spec` with a pipeline; raises TokenizerError as `build` does.

        A plugin that builds only whole tokenizers leaves this as it is.
        """
        raise TokenizerError(
            f"{spec.source}: tokenizer {self.name!r} has no model {spec.model!r} that goes with the normalizers and "
            f"pre-tokenizers of the file; use a GGUF file of the model"
        )
