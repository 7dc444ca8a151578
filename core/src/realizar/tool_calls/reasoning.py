"""What a model thinks, parted from what it says."""

from __future__ import annotations

import attrs

from realizar.tool_calls.deltas import Delta, Reasoning
from realizar.tool_calls.reader import SPACE, Reader, Reading

MARKS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<|channel>thought", "<channel|>"))
"""How reasoning begins and ends."""


@attrs.frozen
class ThinkMarks:
    """The marks of a model's reasoning; inside: an answer begins behind the first of them."""

    begin: str
    end: str
    inside: bool


def think_marks(template: str | None, prompt: str) -> ThinkMarks | None:
    """The marks that a template has, None for a model that does not think.

    prompt: the end of the rendered prompt; it ends with the mark where the template opens the reasoning itself.
    """
    for begin, end in MARKS:
        if end in (template or "") or begin in (template or ""):
            return ThinkMarks(begin, end, prompt.rstrip().endswith(begin))
    return None


class ReasoningSplitter:
    """Reads one answer: reasoning first, if there is any, without the white space around it, then content.

    Only a mark before anything else begins the reasoning. marks: None for a model that does not think.
    """

    def __init__(self, marks: ThinkMarks | None) -> None:
        self.marks = marks
        self._reader = Reader()
        self._reading = self._read()

    @classmethod
    def for_prompt(cls, template: str | None, prompt: str) -> ReasoningSplitter:
        """A splitter for a template, and a prompt that was rendered with it (or its last characters)."""
        return cls(think_marks(template, prompt))

    def push(self, text: str) -> list[Delta]:
        """What became certain with this text: `Reasoning` and `Content`."""
        self._reader.feed(text)
        return self._run()

    def finish(self) -> list[Delta]:
        """What is left, once no more text will come."""
        self._reader.close()
        return self._run()

    def _run(self) -> list[Delta]:
        deltas: list[Delta] = []
        for delta in self._reading:
            if delta is None:
                break
            deltas.append(delta)
        return deltas

    def _read(self) -> Reading[None]:
        reader, marks = self._reader, self.marks
        if marks is not None:
            start = reader.position
            yield from reader.skip_space()
            if (yield from reader.take(marks.begin)) or marks.inside:
                yield from self._reasoning(marks.end)
            else:
                reader.position = start
        yield from reader.content()

    def _reasoning(self, end: str) -> Reading[None]:
        reader, space = self._reader, ""
        yield from reader.skip_space()
        while True:
            text, mark = yield from reader.until((end,))
            said = (space + text).rstrip(SPACE)
            space = (space + text)[len(said) :]
            if said:
                yield Reasoning(said)
            if mark is not None:
                yield from reader.skip_space()
                return
            if not text:
                return
