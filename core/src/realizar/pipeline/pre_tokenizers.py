"""Pre-tokenizers: how a text is cut into words. Names and fields: tokenizers `pre_tokenizers`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import attrs
import regex

from realizar.pipeline.byte_alphabet import spell
from realizar.pipeline.pattern import Pattern
from realizar.pipeline.splitting import split

Behavior = Literal["Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"]


class PreTokenizer(ABC):
    """One step that cuts texts."""

    removes: ClassVar[bool] = False
    """Whether parts of a text may be in no piece."""

    @abstractmethod
    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """The pieces of a text, none empty. at_start: whether the whole text begins with it."""

    def spell(self, piece: str) -> str:
        """How the next step, or the model, sees a piece."""
        return piece


GPT2 = regex.compile(
    r"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s+)"  # linear: all but \s+ possessive
)
"""GPT-2's words. Source: tokenizers `pre_tokenizers/byte_level.rs`."""


@attrs.frozen
class ByteLevel(PreTokenizer):
    """GPT-2's words, then every byte as its character in GPT-2's alphabet. trim_offsets: of no effect on ids."""

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        if self.add_prefix_space and not text.startswith(" "):
            text = " " + text
        return GPT2.findall(text) if self.use_regex else [text]

    def spell(self, piece: str) -> str:
        """See PreTokenizer."""
        return spell(piece.encode())


@attrs.frozen
class Split(PreTokenizer):
    """Cuts at the matches of a pattern, or with `invert` between them."""

    pattern: Pattern
    behavior: Behavior
    invert: bool

    @property
    def removes(self) -> bool:  # type: ignore[override]
        """See PreTokenizer."""
        return self.behavior == "Removed"

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        return split(self.pattern.parts(text), self.behavior, self.invert)


WORD_CHARS = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}"
"""Of which words are made. Source: UTS 18, annex C."""

_WORD = regex.compile(rf"[{WORD_CHARS}]++|[^\s{WORD_CHARS}]++")
_NOT_SPACE = regex.compile(r"\S++")
_PUNCTUATION = regex.compile(r"([\p{P}$+<=>^`|~])")
_DIGIT, _DIGITS = regex.compile(r"(\p{N})"), regex.compile(r"(\p{N}++)")


@attrs.frozen
class Whitespace(PreTokenizer):
    """Words and runs of what is neither word nor white space; white space goes."""

    removes = True

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        return _WORD.findall(text)


@attrs.frozen
class WhitespaceSplit(PreTokenizer):
    """What lies between white space."""

    removes = True

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        return _NOT_SPACE.findall(text)


@attrs.frozen
class Digits(PreTokenizer):
    """Numbers stand alone, as runs or each digit."""

    individual_digits: bool

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        return split((_DIGIT if self.individual_digits else _DIGITS).split(text), "Isolated")


@attrs.frozen
class Punctuation(PreTokenizer):
    """Cuts at each mark of punctuation; ASCII's symbols count as such."""

    behavior: Behavior = "Isolated"

    @property
    def removes(self) -> bool:  # type: ignore[override]
        """See PreTokenizer."""
        return self.behavior == "Removed"

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        return split(_PUNCTUATION.split(text), self.behavior)


@attrs.frozen
class BertPreTokenizer(PreTokenizer):
    """Cuts at white space, which goes, and at each mark of punctuation."""

    removes = True

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        return [piece for word in _NOT_SPACE.findall(text) for piece in _PUNCTUATION.split(word) if piece]


@attrs.frozen
class CharDelimiterSplit(PreTokenizer):
    """What lies between a character."""

    removes = True

    delimiter: str = attrs.field(validator=[attrs.validators.min_len(1), attrs.validators.max_len(1)])

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        return [piece for piece in text.split(self.delimiter) if piece]


@attrs.frozen
class FixedLength(PreTokenizer):
    """So many characters each."""

    length: int = attrs.field(default=5, validator=attrs.validators.ge(1))

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        return [text[i : i + self.length] for i in range(0, len(text), self.length)]


@attrs.frozen
class Metaspace(PreTokenizer):
    """Spaces become `replacement`, which also begins a text as prepend_scheme says; each begins a word.

    add_prefix_space, str_rep: older files say the same with them.
    """

    replacement: str = attrs.field(validator=[attrs.validators.min_len(1), attrs.validators.max_len(1)])
    prepend_scheme: Literal["always", "first", "never"] = "always"
    split: bool | None = None
    add_prefix_space: bool | None = None
    str_rep: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.add_prefix_space is False and self.prepend_scheme != "never":
            raise ValueError(f"'add_prefix_space' is false, but 'prepend_scheme' is {self.prepend_scheme!r}")

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        """See PreTokenizer."""
        text = text.replace(" ", self.replacement)
        prepends = self.prepend_scheme == "always" or (self.prepend_scheme == "first" and at_start)
        if prepends and not text.startswith(self.replacement):
            text = self.replacement + text
        if self.split is False:
            return [text]
        first, *rest = text.split(self.replacement)
        return [*([first] if first else []), *map(self.replacement.__add__, rest)]


PRE_TOKENIZERS: dict[str, type[PreTokenizer]] = {
    cls.__name__: cls
    for cls in (
        ByteLevel, Split, Whitespace, WhitespaceSplit, Digits, Punctuation, BertPreTokenizer, CharDelimiterSplit,
        FixedLength, Metaspace,
    )
}  # fmt: skip
