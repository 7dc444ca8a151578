"""Normalizers: what a text becomes before it is cut. Names and fields: tokenizers `normalizers`."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar, Literal

import attrs
import regex

from realizar.pipeline.byte_alphabet import spell
from realizar.pipeline.charsmap import read_rules
from realizar.pipeline.pattern import Pattern

MAX_CONTENT = 64
"""Characters that a match may become."""


class Normalizer(ABC):
    """One step from a text to a text."""

    @abstractmethod
    def __call__(self, text: str) -> str:
        """The text as the next step sees it."""


class UnicodeForm(Normalizer):
    """A normal form of Unicode. Source: UAX #15."""

    form: ClassVar[Literal["NFC", "NFD", "NFKC", "NFKD"]]

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        return unicodedata.normalize(self.form, text)


@attrs.frozen
class NFC(UnicodeForm):
    """Composed."""

    form = "NFC"


@attrs.frozen
class NFD(UnicodeForm):
    """Decomposed."""

    form = "NFD"


@attrs.frozen
class NFKC(UnicodeForm):
    """Composed, without differences of looks."""

    form = "NFKC"


@attrs.frozen
class NFKD(UnicodeForm):
    """Decomposed, without differences of looks."""

    form = "NFKD"


@attrs.frozen
class Lowercase(Normalizer):
    """Small letters, each by itself: a sigma that ends a word is like any other."""

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        return text.replace("Σ", "σ").lower()


_MARKS, _ACCENTS = regex.compile(r"\p{M}+"), regex.compile(r"\p{Mn}+")


@attrs.frozen
class StripAccents(Normalizer):
    """Without combining marks, those that stand for themselves."""

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        return _MARKS.sub("", text)


@attrs.frozen
class Strip(Normalizer):
    """Without white space at the ends."""

    strip_left: bool
    strip_right: bool

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        if self.strip_left:
            text = text.lstrip(WHITE_SPACE)
        return text.rstrip(WHITE_SPACE) if self.strip_right else text


WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""Unicode's White_Space; Python's own idea of it has four control characters more."""


@attrs.frozen
class Replace(Normalizer):
    """Every match becomes `content`."""

    pattern: Pattern
    content: str = attrs.field(validator=attrs.validators.max_len(MAX_CONTENT))

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        return self.pattern.replace(text, self.content)


@attrs.frozen
class Prepend(Normalizer):
    """Something before every text that is not empty."""

    prepend: str = attrs.field(validator=attrs.validators.max_len(MAX_CONTENT))

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        return self.prepend + text if text else text


@attrs.frozen
class ByteLevel(Normalizer):
    """Every byte as its character in GPT-2's alphabet."""

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        return spell(text.encode())


_NMT_GONE = regex.compile(r"[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]+")
_NMT_SPACES = regex.compile("[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]")


@attrs.frozen
class Nmt(Normalizer):
    """Without control characters; odd spaces as plain ones. Source: tokenizers `normalizers/unicode.rs`."""

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        return _NMT_SPACES.sub(" ", _NMT_GONE.sub("", text))


_CONTROL = regex.compile(r"[\0\ufffd]|(?![\t\n\r])\p{C}")
_SPACE = regex.compile(r"\s")
_CHINESE = regex.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]"
)


@attrs.frozen
class BertNormalizer(Normalizer):
    """BERT's: control characters go, Chinese characters stand alone, accents go with capitals.

    Source: tokenizers `normalizers/bert.rs`, where the last block of ideographs but one begins later than Unicode's.
    """

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        if self.clean_text:
            text = _SPACE.sub(" ", _CONTROL.sub("", text))
        if self.handle_chinese_chars:
            text = _CHINESE.sub(r" \g<0> ", text)
        if self.lowercase if self.strip_accents is None else self.strip_accents:
            text = _ACCENTS.sub("", unicodedata.normalize("NFD", text))
        return Lowercase()(text) if self.lowercase else text


_GRAPHEME = regex.compile(r"\X")
_MAX_GRAPHEME_NBYTES = 6


@attrs.define  # not frozen: the rules are read once
class Precompiled(Normalizer):
    """SentencePiece's rules, grapheme by grapheme: all of a short one becomes what its first characters become.

    Source: tokenizers `normalizers/precompiled.rs`. SentencePiece itself replaces the longest text with a rule.
    """

    precompiled_charsmap: bytes
    source: str = attrs.field(eq=False)

    def __call__(self, text: str) -> str:
        """See Normalizer."""
        if self._starts.isdisjoint(text):
            return text
        return "".join(map(self._replaced, _GRAPHEME.findall(text)))

    @cached_property
    def _rules(self) -> dict[str, str]:
        return read_rules(self.precompiled_charsmap, self.source)

    @cached_property
    def _starts(self) -> set[str]:
        return {key[0] for key in self._rules}

    def _replaced(self, grapheme: str) -> str:
        if len(grapheme.encode()) < _MAX_GRAPHEME_NBYTES:
            for stop in range(1, len(grapheme) + 1):
                if grapheme[:stop] in self._rules:
                    return self._rules[grapheme[:stop]]
        return "".join(self._rules.get(char, char) for char in grapheme)


NORMALIZERS: dict[str, type[Normalizer]] = {
    cls.__name__: cls
    for cls in (
        NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, Prepend, ByteLevel, Nmt, BertNormalizer,
        Precompiled,
    )
}  # fmt: skip
