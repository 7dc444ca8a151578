"""Calls of Llama 3.1 to 3.3: the whole answer is JSON, behind `<|python_tag|>` or not."""

from __future__ import annotations

from realizar.structured.structure import literal
from realizar.tool_calls.calls import Calls
from realizar.tool_calls.format import MAX_CALLS, Mark, ToolFormat
from realizar.tool_calls.reader import Reader, Reading

PYTHON_TAG = "<|python_tag|>"


class Llama3(ToolFormat):
    """`{"name": "f", "parameters": {...}}`; several are parted by semicolons or white space."""

    name = "llama3"

    def recognizes(self, template: str) -> bool:
        """See ToolFormat."""
        says_json = '"parameters": dictionary' in template and "<|start_header_id|>" in template
        return says_json or (PYTHON_TAG in template and "<function=" not in template)

    def read(self, reader: Reader) -> Reading[None]:
        """See ToolFormat."""
        yield from bare_objects(reader, PYTHON_TAG)

    def call(self, name: str, arguments: str, mark: Mark) -> str:
        """See ToolFormat."""
        begin = literal(f'{{"name": {literal(name)}, "parameters": ')
        return f'{begin} {arguments} "}}"'

    def calls(self, call: str, parallel: bool, mark: Mark) -> str:
        """See ToolFormat."""
        return f'{call} ("; " {call}){{0,{MAX_CALLS - 1}}}' if parallel else call


def bare_objects(reader: Reader, tag: str) -> Reading[None]:
    """Calls from the first character on, or from behind a tag; anything else is content."""
    calls = Calls(reader)
    start = reader.position
    yield from reader.skip_space()
    if not (yield from reader.take(tag)):
        if (yield from reader.peek()) != "{":
            reader.position = start
            if (yield from reader.content_until(tag)) is None:
                return
    while (yield from reader.skip_space()) == "{":
        if not (yield from calls.object()):
            break
        yield from reader.skip_space()
        yield from reader.take(";")
    yield from reader.content()
