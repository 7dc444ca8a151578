"""Calls of Hermes, Qwen 2.5 and 3, Granite 4: JSON between `<tool_call>` and `</tool_call>`."""

from __future__ import annotations

import re

from realizar.structured.structure import literal
from realizar.tool_calls.calls import Calls
from realizar.tool_calls.format import Mark, ToolFormat
from realizar.tool_calls.reader import Reader, Reading

_NAME_KEY = re.compile(r"""\\?["']name\\?["']: """)
_XML = ("<function=", "<arg_key>", "<invoke")

BEGIN, END = "<tool_call>", "</tool_call>"


class Hermes(ToolFormat):
    """`<tool_call>\\n{"name": "f", "arguments": {...}}\\n</tool_call>`, any number of times, between text."""

    name = "hermes"

    def recognizes(self, template: str) -> bool:
        """See ToolFormat; the same tag around XML is other formats."""
        return BEGIN in template and bool(_NAME_KEY.search(template)) and not any(tag in template for tag in _XML)

    def read(self, reader: Reader) -> Reading[None]:
        """See ToolFormat."""
        calls = Calls(reader)
        while (yield from reader.content_until(BEGIN)) is not None:
            yield from calls.object()
            yield from reader.skip_space()
            if (yield from reader.take(END)):
                yield from reader.skip_space()

    def call(self, name: str, arguments: str, mark: Mark) -> str:
        """See ToolFormat."""
        begin, end = literal(f'\n{{"name": {literal(name)}, "arguments": '), literal("}\n")
        return f"{mark(BEGIN)} {begin} {arguments} {end} {mark(END)}"
