"""CUDA C++ as far as the rules need it: functions, and in them statements under conditions.

This is no compiler: templates, types and overloads are looked through, and a macro is taken as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

_COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/|^[ \t]*#[^\n]*(?:\\\n[^\n]*)*", re.DOTALL | re.MULTILINE)
_FUNCTION = re.compile(
    r"(?P<head>[^;{}()]*?(?:\((?:[^;{}()]|\([^;{}()]*\))*\)[^;{}()]*?)*?)"
    r"\b(?P<name>\w+)\s*\((?P<params>[^(){}]*)\)\s*(?:const\s*)?\{"
)
_CONTROL = re.compile(r"(for|while|if|else|do|switch)\b")
_NOT_FUNCTIONS = frozenset({"if", "constexpr", "for", "while", "switch", "return", "sizeof", "alignof"})


@attrs.frozen
class Statement:
    """A simple statement, or the condition of a branch or loop (with what a `for` does around it)."""

    line: int
    text: str


@attrs.frozen
class Branch:
    """if (condition) then, else otherwise."""

    condition: Statement
    then: tuple[Code, ...]
    otherwise: tuple[Code, ...]


@attrs.frozen
class Loop:
    """A for, while or do loop. first, step: what a for does before it and after each round; empty otherwise."""

    first: Statement
    condition: Statement
    step: Statement
    body: tuple[Code, ...]


Code = Statement | Branch | Loop


@attrs.frozen
class Function:
    """A function with a body. params: names of its parameters; pointers: those of them that are pointers or arrays."""

    name: str
    line: int
    is_kernel: bool
    is_template: bool
    params: tuple[str, ...]
    pointers: frozenset[str]
    body: tuple[Code, ...]


def functions(source: str) -> list[Function]:
    """All functions with bodies, members of structs too, in order."""
    text = _COMMENTS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)
    found = []
    for match in _FUNCTION.finditer(text):
        if match["name"] in _NOT_FUNCTIONS or not match["head"].strip():
            continue
        line = text.count("\n", 0, match.start("name")) + 1
        body = _Parser(text, match.end()).block()
        params = [param.strip() for param in re.sub(r"<[^<>]*>", "", match["params"]).split(",") if param.strip()]
        names = tuple(re.findall(r"\w+", re.sub(r"\[.*?\]|=.*", "", param))[-1] for param in params)
        pointers = frozenset(name for name, param in zip(names, params, strict=True) if "*" in param or "[" in param)
        marks = ("__global__" in match["head"], re.search(r"\btemplate\b", match["head"]) is not None)
        found.append(Function(match["name"], line, *marks, names, pointers, tuple(body)))
    return found


class _Parser:
    """Reads statements from a position behind an opening brace."""

    def __init__(self, text: str, position: int) -> None:
        self._text, self._at = text, position

    def block(self) -> list[Code]:
        """Statements up to the closing brace."""
        found: list[Code] = []
        while self._skip_space() and self._text[self._at] != "}":
            found += self._statement()
        self._at += 1
        return found

    def _skip_space(self) -> bool:
        while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
            self._at += 1
        return self._at < len(self._text)

    def _statement(self) -> list[Code]:
        match = _CONTROL.match(self._text, self._at)
        if self._text[self._at] == "{":
            self._at += 1
            return self.block()
        if match is None or match[1] == "else":
            return [self._simple()]
        self._at = match.end()
        return [self._branch()] if match[1] == "if" else self._do() if match[1] == "do" else [self._loop(match[1])]

    def _branch(self) -> Branch:
        if self._skip_space() and self._text.startswith("constexpr", self._at):
            self._at += len("constexpr")
        condition = self._parenthesized()
        then = self._body()
        otherwise: list[Code] = []
        if self._skip_space() and re.match(r"else\b", self._text[self._at : self._at + 5]):
            self._at += 4
            otherwise = self._body()
        return Branch(condition, tuple(then), tuple(otherwise))

    def _loop(self, keyword: str) -> Loop:
        head = self._parenthesized()
        parts = head.text.split(";") if keyword == "for" else ["", head.text]
        first, condition, step = (Statement(head.line, part.strip()) for part in [*parts, "", ""][:3])
        return Loop(first, condition, step, tuple(self._body()))

    def _do(self) -> list[Code]:
        """The body runs at least once, and again under its condition."""
        body = self._body()
        self._skip_space()
        self._at += len("while")
        condition = self._parenthesized()
        self._simple()
        nothing = Statement(condition.line, "")
        return [Loop(nothing, condition, nothing, tuple(body))]

    def _body(self) -> list[Code]:
        self._skip_space()
        return self._statement()

    def _parenthesized(self) -> Statement:
        self._skip_space()
        start = self._at
        self._at = _closing(self._text, start)
        return Statement(self._line(start), self._text[start + 1 : self._at - 1].strip())

    def _simple(self) -> Statement:
        """Up to the semicolon; braces in it are initializers or the body of a local struct or lambda."""
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in ";}":
            self._at = _closing(self._text, self._at) if self._text[self._at] in "({[" else self._at + 1
        text = " ".join(self._text[start : self._at].split())
        if self._at < len(self._text) and self._text[self._at] == ";":
            self._at += 1
        return Statement(self._line(start), text)

    def _line(self, position: int) -> int:
        return self._text.count("\n", 0, position) + 1


def _closing(text: str, start: int) -> int:
    """Behind the bracket that closes the one at start."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "({[") - (text[i] in ")}]")
        if depth == 0:
            return i + 1
    return len(text)


def walk(
    code: tuple[Code, ...], conditions: tuple[Statement, ...] = ()
) -> Iterator[tuple[Statement, tuple[Statement, ...]]]:
    """Every statement and condition in order, with the conditions that it stands under."""
    for item in code:
        if isinstance(item, Statement):
            yield item, conditions
        elif isinstance(item, Branch):
            yield item.condition, conditions
            yield from walk(item.then, (*conditions, item.condition))
            yield from walk(item.otherwise, (*conditions, item.condition))
        else:
            yield item.first, conditions
            yield item.condition, conditions
            yield from walk((*item.body, item.step), (*conditions, item.condition))
