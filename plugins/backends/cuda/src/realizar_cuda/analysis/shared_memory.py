"""Between a thread's write to shared memory and another's read there must be a barrier, and the other way about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import attrs

from realizar_cuda.analysis.finding import Finding
from realizar_cuda.analysis.source_tree import Branch, Code, Function, Loop, Statement, walk

_DECLARED = re.compile(r"__shared__[^;=]*?\b(\w+)\s*(?:\[|$|,)")
_BARRIER = re.compile(r"\b__sync(?:threads|warp)(?:_\w+)?\s*\(")
_CALL = re.compile(r"\b(\w+)\s*(?:<[^;()]*>)?\s*\(")
_WRITE = re.compile(r"\b(\w+)\s*\[((?:[^\[\]]|\[[^\[\]]*\])*)\](?:\s*\.\w+)?\s*[-+*/|&^]?=(?!=)")
_READ = re.compile(r"\b(\w+)\s*\[((?:[^\[\]]|\[[^\[\]]*\])*)\]")

_DEEPEST = 4
"""Calls inside calls that are followed."""


@attrs.define
class _Pending:
    """Accesses since the last barrier: array -> index texts."""

    writes: dict[str, set[str]] = attrs.field(factory=dict)
    reads: dict[str, set[str]] = attrs.field(factory=dict)

    def copy(self) -> _Pending:
        return _Pending({k: set(v) for k, v in self.writes.items()}, {k: set(v) for k, v in self.reads.items()})

    def clear(self) -> None:
        self.writes.clear()
        self.reads.clear()

    def join(self, other: _Pending) -> None:
        for mine, theirs in ((self.writes, other.writes), (self.reads, other.reads)):
            for array, indices in theirs.items():
                mine.setdefault(array, set()).update(indices)


def missing_barriers(kernel: Function, known: Mapping[str, Function]) -> list[Finding]:
    """Pairs of accesses to a shared array, at other indices, with no barrier between them.

    Loops are followed twice, so that the end of a body meets its beginning; calls are followed where shared arrays
    are handed on.
    """
    shared = {name for statement, _ in walk(kernel.body) for name in _DECLARED.findall(statement.text)}
    if not shared:
        return []
    tracer = _Tracer(kernel.name, known)
    tracer.follow(kernel.body, {name: name for name in shared}, _Pending(), 0)
    return tracer.findings


class _Tracer:
    def __init__(self, kernel: str, known: Mapping[str, Function]) -> None:
        self._kernel, self._known = kernel, known
        self._line: int | None = None
        self.findings: list[Finding] = []

    def follow(self, code: tuple[Code, ...], arrays: Mapping[str, str], pending: _Pending, depth: int) -> None:
        """Run through code; `arrays`: the names that shared arrays have here -> their names in the kernel."""
        for item in code:
            if isinstance(item, Statement):
                self._statement(item, arrays, pending, depth)
            elif isinstance(item, Branch):
                self._statement(item.condition, arrays, pending, depth)
                other = pending.copy()
                self.follow(item.then, arrays, pending, depth)
                self.follow(item.otherwise, arrays, other, depth)
                pending.join(other)
            else:
                self._loop(item, arrays, pending, depth)

    def _loop(self, loop: Loop, arrays: Mapping[str, str], pending: _Pending, depth: int) -> None:
        self._statement(loop.first, arrays, pending, depth)
        for _ in range(2):
            self._statement(loop.condition, arrays, pending, depth)
            self.follow((*loop.body, loop.step), arrays, pending, depth)

    def _statement(self, statement: Statement, arrays: Mapping[str, str], pending: _Pending, depth: int) -> None:
        if "__shared__" in statement.text:
            return
        line = statement.line if depth == 0 else self._line
        outer, self._line = self._line, line
        writes = [(arrays[name], index) for name, index in _WRITE.findall(statement.text) if name in arrays]
        reads = [(arrays[name], index) for name, index in _read(statement.text) if name in arrays]
        for array, index in reads:
            self._meet(pending.writes, array, index, "written", "read")
            pending.reads.setdefault(array, set()).add(index)
        for function, inner in self._calls(statement.text, arrays, depth):
            self.follow(function.body, inner, pending, depth + 1)
        if _BARRIER.search(statement.text):
            pending.clear()
        for array, index in writes:
            self._meet(pending.reads, array, index, "read", "written")
            pending.writes.setdefault(array, set()).add(index)
        self._line = outer

    def _calls(self, text: str, arrays: Mapping[str, str], depth: int) -> Iterator[tuple[Function, dict[str, str]]]:
        """Functions of ours that the statement calls, with the names that shared arrays have in them."""
        for match in _CALL.finditer(text):
            function = self._known.get(match[1])
            if function is None or depth >= _DEEPEST:
                continue
            given = _arguments(text, match.end() - 1)
            inner = {
                param: arrays[word]
                for param, argument in zip(function.params, given, strict=False)
                for word in re.findall(r"\w+", argument)[:1]
                if word in arrays
            }
            yield function, inner

    def _meet(self, earlier: Mapping[str, set[str]], array: str, index: str, was: str, now: str) -> None:
        others = {other for other in earlier.get(array, ()) if other != index}
        if others:
            line = self._line or 0
            message = (
                f"{array}[{sorted(others)[0]}] was {was} and {array}[{index}] is {now} with no barrier between them"
            )
            self.findings.append(Finding("MISSING_BARRIER", self._kernel, line, message))


def _read(text: str) -> list[tuple[str, str]]:
    """Accesses that are not written; one that is written with its old value is read too."""
    plain = _WRITE.sub(lambda match: match[0][: match[0].rindex("=")] if match[0][-2] in "+-*/|&^" else match[2], text)
    return _READ.findall(plain)


def _arguments(text: str, start: int) -> list[str]:
    """The texts between the commas of a call whose bracket opens at start."""
    parts, depth, last = [], 0, start + 1
    for i in range(start, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if (text[i] == "," and depth == 1) or depth == 0:
            parts.append(text[last:i].strip())
            last = i + 1
        if depth == 0:
            break
    return parts
