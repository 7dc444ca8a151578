"""Calls of DeepSeek V3, R1 and V3.1, between control tokens of their own."""

from __future__ import annotations

from realizar.structured.structure import literal
from realizar.tool_calls.calls import Calls
from realizar.tool_calls.deltas import Content
from realizar.tool_calls.format import MAX_CALLS, Mark, ToolFormat
from realizar.tool_calls.reader import Reader, Reading

ALL_BEGIN, ALL_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
BEGIN, SEPARATOR, END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
FENCE = "```"


class DeepSeek(ToolFormat):
    """`BEGIN f SEPARATOR {...} END` within a pair of its own; V3 and R1 write `function SEPARATOR f` and a fence."""

    name = "deepseek"

    def recognizes(self, template: str) -> bool:
        """See ToolFormat."""
        return SEPARATOR in template and "```" not in template

    def read(self, reader: Reader) -> Reading[None]:
        """Both ways are read, whichever the template has."""
        calls = Calls(reader)
        while (mark := (yield from reader.content_until(ALL_BEGIN, BEGIN, ALL_END))) is not None:
            if mark == BEGIN:
                yield from self._call(calls)
            yield from reader.skip_space()

    def _call(self, calls: Calls) -> Reading[None]:
        reader, start = calls.reader, calls.reader.position
        name, mark = yield from reader.through(SEPARATOR)
        if mark is not None and (yield from reader.skip_space()) != "{":
            name, mark = yield from reader.through("\n")
        if mark is None:
            yield Content(BEGIN + reader.since(start))
            return
        if (yield from reader.take(f"{FENCE}json")):
            yield from reader.skip_space()
        yield from calls.named(name.strip())
        yield from reader.skip_space()
        if (yield from reader.take(FENCE)):
            yield from reader.skip_space()
        yield from reader.take(END)

    def call(self, name: str, arguments: str, mark: Mark) -> str:
        """See ToolFormat."""
        return f"{mark(BEGIN)} {literal(name)} {mark(SEPARATOR)} {arguments} {mark(END)}"

    def calls(self, call: str, parallel: bool, mark: Mark) -> str:
        """See ToolFormat."""
        return f"{mark(ALL_BEGIN)} {f'({call}){{1,{MAX_CALLS}}}' if parallel else call} {mark(ALL_END)}"


class FencedDeepSeek(DeepSeek):
    """`BEGIN function SEPARATOR f` and the arguments in a fence."""

    name = "deepseek-fenced"

    def recognizes(self, template: str) -> bool:
        """See ToolFormat."""
        return SEPARATOR in template and "```" in template

    def call(self, name: str, arguments: str, mark: Mark) -> str:
        """See ToolFormat."""
        begin, end = literal(f"{name}\n```json\n"), literal("\n```")
        return f'{mark(BEGIN)} "function" {mark(SEPARATOR)} {begin} {arguments} {end} {mark(END)}'
