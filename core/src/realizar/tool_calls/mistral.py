"""Calls of Mistral: behind `[TOOL_CALLS]` a JSON array, or from version 11 of its tokenizers a name and arguments."""

from __future__ import annotations

import secrets
import string

from realizar.structured.structure import literal
from realizar.tool_calls.calls import MAX_NAME_CHARS, Calls
from realizar.tool_calls.deltas import Content
from realizar.tool_calls.format import MAX_CALLS, Mark, ToolFormat
from realizar.tool_calls.reader import Reader, Reading

BEGIN, ARGUMENTS = "[TOOL_CALLS]", "[ARGS]"


def short_id() -> str:
    """Nine letters and digits: the templates of Mistral refuse anything else."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


class Mistral(ToolFormat):
    """`[TOOL_CALLS][{"name": "f", "arguments": {...}}, ...]`."""

    name = "mistral"

    def recognizes(self, template: str) -> bool:
        """See ToolFormat."""
        return BEGIN in template and ARGUMENTS not in template

    def read(self, reader: Reader) -> Reading[None]:
        """Both ways are read, whichever the template has."""
        calls = Calls(reader, short_id)
        while (yield from reader.content_until(BEGIN)) is not None:
            if (yield from reader.skip_space()) in ("[", "{"):
                yield from self._array(calls)
            else:
                yield from self._named(calls)

    def _array(self, calls: Calls) -> Reading[None]:
        reader = calls.reader
        yield from reader.take("[")
        while (yield from reader.skip_space()) == "{":
            if not (yield from calls.object()):
                return
            yield from reader.skip_space()
            yield from reader.take(",")
        yield from reader.take("]")

    def _named(self, calls: Calls) -> Reading[None]:
        reader, start = calls.reader, calls.reader.position
        while (char := (yield from reader.peek())) and char not in "[{" and reader.position - start < MAX_NAME_CHARS:
            reader.position += 1
        name = reader.since(start).strip()
        yield from reader.take(ARGUMENTS)
        if name and (yield from reader.skip_space()) == "{":
            yield from calls.named(name)
        else:
            yield Content(BEGIN + reader.since(start))

    def call(self, name: str, arguments: str, mark: Mark) -> str:
        """See ToolFormat."""
        begin = literal(f'{{"name": {literal(name)}, "arguments": ')
        return f'{begin} {arguments} "}}"'

    def calls(self, call: str, parallel: bool, mark: Mark) -> str:
        """See ToolFormat."""
        more = f' (", " {call}){{0,{MAX_CALLS - 1}}}' if parallel else ""
        return f'{mark(BEGIN)} "[" {call}{more} "]"'


class NamedMistral(Mistral):
    """`[TOOL_CALLS]f[ARGS]{...}`, once for each call."""

    name = "mistral-args"

    def recognizes(self, template: str) -> bool:
        """See ToolFormat."""
        return BEGIN in template and ARGUMENTS in template

    def call(self, name: str, arguments: str, mark: Mark) -> str:
        """See ToolFormat."""
        return f"{mark(BEGIN)} {literal(name)} {mark(ARGUMENTS)} {arguments}"

    def calls(self, call: str, parallel: bool, mark: Mark) -> str:
        """See ToolFormat."""
        return f"({call}){{1,{MAX_CALLS}}}" if parallel else call
