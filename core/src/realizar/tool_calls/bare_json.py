"""Calls of models whose template says nothing of a format: an object with a name and arguments, and nothing else."""

from __future__ import annotations

from realizar.structured.structure import literal
from realizar.tool_calls.format import Mark, ToolFormat
from realizar.tool_calls.llama3 import bare_objects
from realizar.tool_calls.reader import Reader, Reading


class BareJson(ToolFormat):
    """`{"name": "f", "arguments": {...}}`."""

    name = "json"

    def recognizes(self, template: str) -> bool:
        """See ToolFormat; it is what is left when no other does."""
        return True

    def read(self, reader: Reader) -> Reading[None]:
        """See ToolFormat."""
        yield from bare_objects(reader, "<tool_call>")

    def call(self, name: str, arguments: str, mark: Mark) -> str:
        """See ToolFormat."""
        begin = literal(f'{{"name": {literal(name)}, "arguments": ')
        return f'{begin} {arguments} "}}"'
