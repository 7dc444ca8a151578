"""Rules over CUDA C++. They are made to be quiet on code that is right; what they cannot follow they let pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import gcd

from realizar_cuda.analysis.finding import Finding
from realizar_cuda.analysis.shared_memory import missing_barriers
from realizar_cuda.analysis.source_tree import Branch, Code, Function, Loop, functions, walk
from realizar_cuda.analysis.uniformity import ASSIGNED, barrier_functions, is_barrier, varies, varying

_LEAVES = re.compile(r"^return\b")
_WAIVED = re.compile(r"//.*?\bnot ([A-Z0-9_]+): \S")
_PLACEHOLDER = re.compile(r"\b(TODO|FIXME|XXX|placeholder|not implemented|omitted)\b", re.IGNORECASE)
_SHARED = re.compile(r"__shared__[^;=]*?\b(\w+)\s*((?:\[[^\]]*\])+)")
_THREAD = r"(?:threadIdx\.x|lane_id\(\)|\blane\b)"
_BOUNDS = re.compile(r"\bmin\s*\(|[%&]")
"""What keeps an index within limits."""

_BANKS = 32


def check_source(source: str, included: str = "") -> list[Finding]:
    """Findings in the kernels of a file, and in functions that kernels may call; `included`: the headers' text.

    A line with a comment "not CLASS: reason" is free of that class: somebody has looked, and says why.
    """
    own = functions(source)
    known = {function.name: function for function in (*functions(included), *own)}
    waiting = barrier_functions(known)
    found = list(_placeholders(source))
    for function in own:
        found += _early_exits(function, waiting)
        found += _divergent_barriers(function, waiting)
        found += _empty_loops(function, function.body)
        if function.is_kernel:
            found += missing_barriers(function, known)
            found += _unchecked(function)
            found += _strides(function)
    waived = {(number, bug) for number, line in enumerate(source.splitlines(), 1) for bug in _WAIVED.findall(line)}
    return sorted({finding for finding in found if (finding.line, finding.bug) not in waived})


def _placeholders(source: str) -> Iterator[Finding]:
    for number, line in enumerate(source.splitlines(), 1):
        if match := _PLACEHOLDER.search(line):
            yield Finding("PLACEHOLDER_CODE", "", number, f"{match[0]!r} stands here: the code is not finished")


def _early_exits(function: Function, waiting: frozenset[str]) -> Iterator[Finding]:
    """A thread that has returned never comes to the barrier where the others wait for it."""
    if not any(is_barrier(statement.text, waiting) for statement, _ in walk(function.body)):
        return
    names = varying(function, waiting)
    lines = [statement.line for statement, _ in walk(function.body) if is_barrier(statement.text, waiting)]
    for statement, conditions in walk(function.body):
        behind = [line for line in lines if line > statement.line]
        if behind and _LEAVES.match(statement.text) and any(varies(c.text, names, waiting) for c in conditions):
            yield Finding(
                "EARLY_EXIT_BARRIER", function.name, statement.line,
                f"some threads return here, the others wait for them at line {behind[0]}; let them skip the work only",
            )  # fmt: skip


def _divergent_barriers(function: Function, waiting: frozenset[str]) -> Iterator[Finding]:
    names = varying(function, waiting)
    for statement, conditions in walk(function.body):
        if not is_barrier(statement.text, waiting):
            continue
        for condition in conditions:
            if varies(condition.text, names, waiting):
                yield Finding(
                    "DIVERGENT_BARRIER", function.name, statement.line,
                    f"a barrier that threads meet under a condition of their own ({condition.text!r}, line "
                    f"{condition.line}); every thread of the block must come here equally often",
                )  # fmt: skip


def _empty_loops(function: Function, code: tuple[Code, ...]) -> Iterator[Finding]:
    for item in code:
        if isinstance(item, Branch):
            yield from _empty_loops(function, (*item.then, *item.otherwise))
        elif isinstance(item, Loop):
            idle = not any(statement.text for statement, _ in walk(item.body))
            if idle and not re.search(r"\(", item.condition.text + item.step.text) and not _changed(item):
                yield Finding("EMPTY_LOOP", function.name, item.condition.line, "the loop does nothing")
            yield from _empty_loops(function, item.body)


def _changed(loop: Loop) -> bool:
    """Whether the condition itself does something, as in `while (*p++)`."""
    return re.search(r"[^=!<>]=[^=]|\+\+|--", loop.condition.text) is not None


def _unchecked(function: Function) -> Iterator[Finding]:
    """Global memory at an index of the thread that nothing above, before or beside it has compared or bounded."""
    names = varying(function, frozenset()) | {"threadIdx"}
    safe = {name for s, _ in walk(function.body) for name, value in ASSIGNED.findall(s.text) if _BOUNDS.search(value)}
    for statement, conditions in walk(function.body):
        around = _compared(" ; ".join((statement.text, *(condition.text for condition in conditions))))
        for pointer, index in _accesses(statement.text, function.pointers):
            words = set(re.findall(r"\w+", index)) & names
            if words and not words & (around | safe) and not _BOUNDS.search(index):
                unknown = ", ".join(sorted(words))
                yield Finding(
                    "NO_BOUNDS_CHECK", function.name, statement.line,
                    f"{pointer}[{index}] depends on the thread, and nothing compares {unknown} with a size",
                )  # fmt: skip
        if _LEAVES.match(statement.text) or statement.text in ("continue", "break"):
            safe |= around


def _compared(text: str) -> set[str]:
    """Words beside a comparison."""
    found: set[str] = set()
    for left, right in re.findall(r"([^;&|?:=,]*?)(?:[<>]=?|==|!=)([^;&|?:,]*)", text):
        found.update(re.findall(r"\w+", left + " " + right))
    return found


def _strides(function: Function) -> Iterator[Finding]:
    """Neighbouring threads should touch neighbours: for whole lines of memory, and for all banks of shared memory."""
    shared: dict[str, str] = {}
    for statement, _ in walk(function.body):
        shared |= dict(_SHARED.findall(statement.text))
        for pointer, index in _accesses(statement.text, function.pointers):
            if (stride := _stride(index)) is not None and stride != "1":
                yield Finding(
                    "UNCOALESCED", function.name, statement.line,
                    f"{pointer}[{index}]: neighbouring threads are {stride} elements apart; let them read side by side",
                )  # fmt: skip
        for array, index in _accesses(statement.text, frozenset(shared)):
            if (ways := _conflict(index, shared[array])) > 1:
                yield Finding(
                    "BANK_CONFLICT", function.name, statement.line,
                    f"{array}[{index}]: {ways} threads meet in one bank; pad the rows by one",
                )  # fmt: skip


def _accesses(text: str, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(array, index) of each access to one of the arrays; indices of more dimensions are joined by "]["."""
    if "__shared__" in text:
        return
    for match in re.finditer(r"\b(\w+)\s*\[", text):
        if match[1] not in names:
            continue
        at, parts = match.end() - 1, []
        while at < len(text) and text[at] == "[":
            end = _closing(text, at)
            parts.append(text[at + 1 : end - 1].strip())
            at = end
        yield match[1], "][".join(parts)


def _closing(text: str, start: int) -> int:
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "[(") - (text[i] in "])")
        if depth == 0:
            return i + 1
    return len(text)


def _stride(index: str) -> str | None:
    """By what the thread's number is multiplied in an index; "1" if by nothing, None if it is not there."""
    if not re.search(_THREAD, index):
        return None
    factor = r"(\w+(?:\.\w+)?)"
    match = re.search(rf"{_THREAD}\s*\*\s*{factor}", index) or re.search(rf"{factor}\s*\*\s*{_THREAD}", index)
    return match[1] if match else "1"


def _conflict(index: str, dimensions: str) -> int:
    """How many of 32 threads meet in one bank of 4 bytes, for constant strides of 4-byte elements."""
    sizes = re.findall(r"\[([^\]]*)\]", dimensions)
    parts = index.split("][")
    step = 0
    for i, part in enumerate(parts):
        stride = _stride(part)
        inner = [size.strip() for size in sizes[i + 1 :]]
        if stride is None or not all(size.isdigit() for size in (stride, *inner)):
            continue
        width = int(stride)
        for size in inner:
            width *= int(size)
        step += width
    return gcd(step, _BANKS) if step else 1
