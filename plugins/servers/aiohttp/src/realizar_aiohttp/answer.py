"""What a model says: reasoning, text and calls, told apart while it is written."""

from __future__ import annotations

import attrs

from realizar.engine import Completion, Piece
from realizar.tool_calls import CallArguments, CallBegin, Content, Delta, Reasoning, ReasoningSplitter, ToolCallParser
from realizar.tool_calls.deltas import CallEnd
from realizar.tool_calls.format import ToolFormat
from realizar.tool_calls.reasoning import ThinkMarks


@attrs.define
class FunctionCall:
    """A call; index: from 0; arguments: the text of a JSON object. complete: whether the model wrote all of it."""

    index: int
    id: str
    name: str
    arguments: str = ""
    complete: bool = True


@attrs.define
class Answer:
    """All that was said."""

    content: str = ""
    reasoning: str = ""
    calls: list[FunctionCall] = attrs.field(factory=list)

    def add(self, delta: Delta) -> None:
        """Take what is said next."""
        match delta:
            case Content(text):
                self.content += text
            case Reasoning(text):
                self.reasoning += text
            case CallBegin(index, id, name):
                self.calls.append(FunctionCall(index, id, name))
            case CallArguments(_, text):
                self.calls[-1].arguments += text
            case CallEnd(_, complete):
                self.calls[-1].complete = complete

    def __bool__(self) -> bool:
        """Whether anything was said."""
        return bool(self.content or self.reasoning or self.calls)


class AnswerReader:
    """Reads one answer; `answer` has what was read so far.

    marks: of reasoning, None for an answer that has none. form: how calls are written, None where none may come.
    parallel: whether calls after the first count. White space alone before a call is not content.
    """

    def __init__(self, marks: ThinkMarks | None, form: ToolFormat | None, *, parallel: bool) -> None:
        self.answer = Answer()
        self._splitter = None if marks is None else ReasoningSplitter(marks)
        self._parser = None if form is None else ToolCallParser(form)
        self._parallel = parallel
        self._space: str | None = None if form is None else ""

    def push(self, piece: Piece) -> list[Delta]:
        """What became certain with a piece; all of it with the last one."""
        return self._read(piece.text, last=piece.completion is not None)

    def said(self, piece: Piece) -> Answer:
        """What became certain with a piece; a call once it is whole."""
        said = Answer()
        for delta in self.push(piece):
            if isinstance(delta, CallEnd):
                said.calls.append(self.answer.calls[delta.index])
            elif isinstance(delta, (Content, Reasoning)):
                said.add(delta)
        return said

    def whole(self, done: Completion) -> Answer:
        """The answer that is there at once."""
        self._read(done.text, last=True)
        return self.answer

    def _read(self, text: str, *, last: bool) -> list[Delta]:
        deltas: list[Delta] = [Content(text)] if text else []
        if self._splitter is not None:
            deltas = self._splitter.push(text) + (self._splitter.finish() if last else [])
        if self._parser is not None:
            deltas = [each for delta in deltas for each in self._parsed(delta, self._parser)]
            deltas += self._kept(self._parser.finish()) if last else []
            if last and self._space and not self.answer.calls:
                deltas.append(Content(self._space))
        for delta in deltas:
            self.answer.add(delta)
        return deltas

    def _parsed(self, delta: Delta, parser: ToolCallParser) -> list[Delta]:
        return self._kept(parser.push(delta.text)) if isinstance(delta, Content) else [delta]

    def _kept(self, deltas: list[Delta]) -> list[Delta]:
        """Without calls that are too many, and without white space before the first."""
        kept: list[Delta] = []
        for delta in deltas:
            if not isinstance(delta, (Content, Reasoning)):
                if self._parallel or delta.index == 0:
                    self._space = None
                    kept.append(delta)
            elif self._space is None or not isinstance(delta, Content):
                kept.append(delta)
            elif (self._space + delta.text).isspace():
                self._space += delta.text
            else:
                kept.append(Content(self._space + delta.text))
                self._space = None
        return kept
