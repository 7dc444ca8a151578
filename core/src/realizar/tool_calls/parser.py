"""An answer in pieces to deltas."""

from __future__ import annotations

from realizar.tool_calls.deltas import Content, Delta
from realizar.tool_calls.format import ToolFormat
from realizar.tool_calls.reader import Reader


class ToolCallParser:
    """Reads one answer; how it was cut into pieces changes nothing but how its deltas are cut."""

    def __init__(self, form: ToolFormat) -> None:
        self._reader = Reader()
        self._reading = form.read(self._reader)

    def push(self, text: str) -> list[Delta]:
        """What became certain with this text."""
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
            if isinstance(delta, Content) and deltas and isinstance(deltas[-1], Content):
                deltas[-1] = Content(deltas[-1].text + delta.text)
            else:
                deltas.append(delta)
        return deltas
