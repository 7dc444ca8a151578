"""Decoders: what text tokens become. Names and fields: tokenizers `decoders`.

Each is a stream, token by token, so that decoding at once and step by step are the same thing.
"""

from __future__ import annotations

import codecs
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import attrs

from realizar.pipeline.byte_alphabet import unspell
from realizar.pipeline.normalizers import MAX_CONTENT
from realizar.pipeline.pattern import Pattern


class TokenStream(ABC):
    """One step of decoding at work."""

    @abstractmethod
    def push(self, token: str) -> Sequence[str]:
        """The tokens for the next step that became certain with this one."""

    def finish(self) -> Sequence[str]:
        """What is left."""
        return ()


class Decoder(ABC):
    """One step of decoding. fuses: makes one token of all; the steps behind it see no others."""

    fuses: ClassVar[bool] = False

    @abstractmethod
    def stream(self) -> TokenStream:
        """The step at the start of a text."""

    def inside(self, token: str) -> str:
        """What a token inside a text becomes by itself."""
        stream = self.stream()
        stream.push("")
        return "".join(stream.push(token))


class _PerToken(TokenStream):
    """A step that needs to know of a token only whether it is the first."""

    def __init__(self, decoder: EachToken) -> None:
        self._each = decoder.each
        self._is_first = True

    def push(self, token: str) -> Sequence[str]:
        """See TokenStream."""
        is_first, self._is_first = self._is_first, False
        return (self._each(token, is_first),)


class EachToken(Decoder):
    """A step that changes tokens one by one."""

    @abstractmethod
    def each(self, token: str, is_first: bool) -> str:
        """What a token becomes."""

    def stream(self) -> TokenStream:
        """See Decoder."""
        return _PerToken(self)


@attrs.frozen
class ByteLevel(Decoder):
    """Bytes of GPT-2's alphabet to text; tokens with other characters are text already. Fields: of no effect."""

    fuses = True
    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    def stream(self) -> TokenStream:
        """See Decoder."""
        return _Bytes()


_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class _Bytes(TokenStream):
    def __init__(self) -> None:
        self._utf8 = _new_utf8_decoder(errors="replace")

    def push(self, token: str) -> Sequence[str]:
        """See TokenStream."""
        data = unspell(token)
        return (self._utf8.decode(token.encode() if data is None else data),)

    def finish(self) -> Sequence[str]:
        """See TokenStream."""
        return (self._utf8.decode(b"", final=True),)


@attrs.frozen
class ByteFallback(Decoder):
    """Runs of <0xXX> to text; a run that is no UTF-8 becomes U+FFFD for each."""

    def stream(self) -> TokenStream:
        """See Decoder."""
        return _ByteRuns()


BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2})>")


class _ByteRuns(TokenStream):
    def __init__(self) -> None:
        self._run = bytearray()

    def push(self, token: str) -> Sequence[str]:
        """See TokenStream."""
        if match := BYTE_TOKEN.fullmatch(token):
            self._run.append(int(match[1], 16))
            return ()
        return (*self.finish(), token)

    def finish(self) -> Sequence[str]:
        """See TokenStream."""
        run, self._run = bytes(self._run), bytearray()
        if not run:
            return ()
        try:
            return (run.decode(),)
        except UnicodeDecodeError:
            return ("\ufffd",) * len(run)


@attrs.frozen
class Fuse(EachToken):
    """One token of all."""

    fuses = True

    def each(self, token: str, is_first: bool) -> str:
        """See EachToken."""
        return token


@attrs.frozen
class Strip(EachToken):
    """Up to `start` characters `content` off the start of each token, up to `stop` off its end."""

    content: str = attrs.field(validator=[attrs.validators.min_len(1), attrs.validators.max_len(1)])
    start: int = attrs.field(validator=attrs.validators.ge(0))
    stop: int = attrs.field(validator=attrs.validators.ge(0))

    def each(self, token: str, is_first: bool) -> str:
        """See EachToken."""
        token = token[min(self.start, len(token) - len(token.lstrip(self.content))) :]
        return token[: len(token) - min(self.stop, len(token) - len(token.rstrip(self.content)))]


@attrs.frozen
class Replace(EachToken):
    """Every match becomes `content`."""

    pattern: Pattern
    content: str = attrs.field(validator=attrs.validators.max_len(MAX_CONTENT))

    def each(self, token: str, is_first: bool) -> str:
        """See EachToken."""
        return self.pattern.replace(token, self.content)


@attrs.frozen
class Metaspace(EachToken):
    """`replacement` to spaces; in the first token it goes. add_prefix_space, split and str_rep have no effect."""

    replacement: str = attrs.field(validator=[attrs.validators.min_len(1), attrs.validators.max_len(1)])
    prepend_scheme: Literal["always", "first", "never"] = "always"
    split: bool | None = None
    add_prefix_space: bool | None = None
    str_rep: str | None = None

    def each(self, token: str, is_first: bool) -> str:
        """See EachToken."""
        return token.replace(self.replacement, "" if is_first and self.prepend_scheme != "never" else " ")


@attrs.frozen
class WordPiece(EachToken):
    """Spaces before tokens that do not begin with `prefix`; cleanup: none before marks of punctuation."""

    prefix: str = "##"
    cleanup: bool = True

    def each(self, token: str, is_first: bool) -> str:
        """See EachToken."""
        if not is_first:
            token = token[len(self.prefix) :] if token.startswith(self.prefix) else f" {token}"
        if self.cleanup:
            for found, clean in CLEANUP:
                token = token.replace(found, clean)
        return token


CLEANUP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip
"""Source: tokenizers `decoders/wordpiece.rs`."""


@attrs.frozen
class BPEDecoder(Decoder):
    """`suffix` ends a word: a space for each but in the last token."""

    suffix: str = attrs.field(default="</w>", validator=attrs.validators.min_len(1))

    def stream(self) -> TokenStream:
        """See Decoder."""
        return _WordEnds(self.suffix)

    def inside(self, token: str) -> str:
        """See Decoder."""
        return token.replace(self.suffix, " ")


class _WordEnds(TokenStream):
    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._held: str | None = None

    def push(self, token: str) -> Sequence[str]:
        """See TokenStream."""
        held, self._held = self._held, token
        return () if held is None else (held.replace(self._suffix, " "),)

    def finish(self) -> Sequence[str]:
        """See TokenStream."""
        held, self._held = self._held, None
        return () if held is None else (held.replace(self._suffix, ""),)


@attrs.frozen
class Spaced(EachToken):
    """Spaces between tokens: what a tokenizer without a decoder does."""

    def each(self, token: str, is_first: bool) -> str:
        """See EachToken."""
        return token if is_first else f" {token}"


DECODERS: dict[str, type[Decoder]] = {
    cls.__name__: cls
    for cls in (ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, WordPiece, BPEDecoder)
}  # fmt: skip
