"""All decoders of a pipeline in a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from realizar.pipeline.decoders import Decoder, Spaced, Strip, TokenStream


class Decoding:
    """Tokens to text, one by one; what was pushed and finished concatenates to the text of all tokens.

    Behind a step that fuses all tokens into one the others see a single token that is not yet at its end: there Strip
    knows how to go on, anything else waits for the end of the text.
    """

    def __init__(self, decoders: Sequence[Decoder] | None) -> None:
        decoders = [Spaced()] if decoders is None else decoders
        cut = next((i + 1 for i, decoder in enumerate(decoders) if decoder.fuses), len(decoders))
        behind = [decoder for decoder in decoders[cut:] if not decoder.fuses]
        self._streams = [decoder.stream() for decoder in decoders[:cut]]
        if all(isinstance(decoder, Strip) for decoder in behind):
            self._streams += [_GrowingText(decoder) for decoder in behind if isinstance(decoder, Strip)]
        else:
            self._streams.append(_WholeText(behind))

    def push(self, token: str) -> str:
        """The text that became certain with this token."""
        return _through(self._streams, [token])

    def finish(self) -> str:
        """What is left."""
        return "".join(_through(self._streams[i + 1 :], stream.finish()) for i, stream in enumerate(self._streams))


def _through(streams: Iterable[TokenStream], tokens: Sequence[str]) -> str:
    for stream in streams:
        tokens = [following for token in tokens for following in stream.push(token)]
    return "".join(tokens)


class _GrowingText(TokenStream):
    """Strip on one token that comes in parts."""

    def __init__(self, strip: Strip) -> None:
        self._strip = strip
        self._left = strip.start
        self._held = ""

    def push(self, token: str) -> Sequence[str]:
        """See TokenStream."""
        content = self._strip.content
        if self._left and token:
            stripped = min(self._left, len(token) - len(token.lstrip(content)))
            self._left = 0 if stripped < len(token) else self._left - stripped
            token = token[stripped:]
        text = self._held + token
        stop = len(text) - min(self._strip.stop, len(text) - len(text.rstrip(content)))
        self._held = text[stop:]
        return (text[:stop],)


class _WholeText(TokenStream):
    """Decoders that must see a whole text."""

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        self._decoders = decoders
        self._parts: list[str] = []

    def push(self, token: str) -> Sequence[str]:
        """See TokenStream."""
        self._parts.append(token)
        return ()

    def finish(self) -> Sequence[str]:
        """See TokenStream."""
        tokens: Sequence[str] = ["".join(self._parts)]
        for decoder in self._decoders:
            stream = decoder.stream()
            tokens = [*(out for token in tokens for out in stream.push(token)), *stream.finish()]
        return tokens
