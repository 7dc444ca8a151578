"""Calls of FunctionGemma and Gemma 4: `call:f{key:value}` between marks, texts between marks too."""

from __future__ import annotations

from collections.abc import Callable

from realizar.structured.structure import literal
from realizar.tool_calls.calls import MAX_NAME_CHARS, Calls, long_id
from realizar.tool_calls.deltas import Content
from realizar.tool_calls.format import MAX_CALLS, Mark, ToolFormat
from realizar.tool_calls.json_reader import JsonReader
from realizar.tool_calls.reader import Reader, Reading


class Gemma(ToolFormat):
    """A format whose marks are given; JSON's own quotes are read as well, and are what a constrained call has."""

    def __init__(self, name: str, begin: str, end: str, quote: str) -> None:
        self.name: str = name  # type: ignore[misc]
        self._begin, self._end, self._quote = begin, end, quote

    def recognizes(self, template: str) -> bool:
        """See ToolFormat."""
        return self._begin in template and "call:" in template

    def read(self, reader: Reader) -> Reading[None]:
        """See ToolFormat."""
        calls = Calls(reader, long_id, _notation(self._quote))
        while (yield from reader.content_until(self._begin)) is not None:
            start = reader.position
            yield from reader.skip_space()
            yield from reader.take("call:")
            named_at = reader.position
            while (char := (yield from reader.peek())) and char != "{" and reader.position - start < MAX_NAME_CHARS:
                reader.position += 1
            name = reader.since(named_at).strip()
            if not name or char != "{":
                yield Content(self._begin + reader.since(start))
                continue
            yield from calls.named(name)
            yield from reader.take(self._end)

    def call(self, name: str, arguments: str, mark: Mark) -> str:
        """See ToolFormat."""
        return f"{mark(self._begin)} {literal(f'call:{name}')} {arguments} {mark(self._end)}"

    def calls(self, call: str, parallel: bool, mark: Mark) -> str:
        """See ToolFormat."""
        return f"({call}){{1,{MAX_CALLS}}}" if parallel else call


def _notation(quote: str) -> Callable[[Reader], JsonReader]:
    """A reader of JSON with keys that may be bare and texts between `quote`."""

    class Notation(JsonReader):
        quotes = (quote, '"')
        bare_keys = True

    return Notation


FUNCTION_GEMMA = Gemma("function-gemma", "<start_function_call>", "<end_function_call>", "<escape>")
GEMMA4 = Gemma("gemma4", "<|tool_call>", "<tool_call|>", '<|"|>')
