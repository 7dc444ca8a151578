"""PTX as lists of instructions. Source: NVIDIA, Parallel Thread Execution ISA, chapters 4 and 9."""

from __future__ import annotations

import re

import attrs

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_ENTRY = re.compile(r"(?P<kind>\.entry|\.func)\s+(?:\([^)]*\)\s*)?(?P<name>[\w$]+)\s*(?:\([^)]*\))?[^{;]*\{")
_PREDICATES = re.compile(r"\.reg\s+\.pred\s+[^;]*?<(\d+)>\s*;")


@attrs.frozen
class Instruction:
    """guard: the predicate it runs under ("%p1", with "!" where negated), or "". operands: as they are written."""

    line: int
    guard: str
    opcode: str
    operands: tuple[str, ...]

    @property
    def registers(self) -> tuple[str, ...]:
        """Registers named in the operands, the first operand's first."""
        return tuple(re.findall(r"%[\w.]+", " ".join(self.operands)))


@attrs.frozen
class Label:
    """A place to branch to."""

    line: int
    name: str


@attrs.frozen
class Entry:
    """A kernel (or a function that was not inlined). predicates: how many predicate registers it declares."""

    name: str
    is_kernel: bool
    line: int
    code: tuple[Instruction | Label, ...]
    predicates: int
    local_nbytes: int


@attrs.frozen
class Module:
    """entries of a text; problems: (line, what is wrong) where it is no PTX."""

    entries: tuple[Entry, ...]
    problems: tuple[tuple[int, str], ...]


def parse(text: str) -> Module:
    """The kernels and functions of a PTX text."""
    plain = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    problems = [(1, f"there is no {word} directive") for word in (".version", ".target") if word not in plain]
    entries = []
    for match in _ENTRY.finditer(plain):
        end = _closing(plain, match.end() - 1)
        if end is None:
            problems.append((_line(plain, match.start()), f"the body of {match['name']} is not closed"))
            end = len(plain)
        body = plain[match.end() : end]
        code = _code(body, _line(plain, match.end()))
        predicates = max((int(count) for count in _PREDICATES.findall(body)), default=1) - 1
        local = sum(int(size) for size in re.findall(r"\.local\s[^;]*\[(\d+)\]\s*;", body))
        is_kernel = match["kind"] == ".entry"
        entries.append(Entry(match["name"], is_kernel, _line(plain, match.start()), code, predicates, local))
    return Module(tuple(entries), tuple(problems))


def _code(body: str, first_line: int) -> tuple[Instruction | Label, ...]:
    found: list[Instruction | Label] = []
    position = 0
    for piece in re.split(r"(?<=;)|(?<=[\w$]:)(?=\s)|(?<=\})|(?<=\{)", body):
        stripped = piece.strip().strip("{}").strip()
        line = first_line + body.count("\n", 0, position + len(piece) - len(piece.lstrip()))
        position += len(piece)
        if stripped.endswith(":"):
            found.append(Label(line, stripped[:-1]))
        elif stripped.endswith(";") and not stripped.startswith("."):
            found.append(_instruction(stripped[:-1], line))
    return tuple(found)


def _instruction(text: str, line: int) -> Instruction:
    guard = ""
    if text.startswith("@"):
        guard, _, text = text[1:].partition(" ")
    opcode, _, rest = text.strip().partition(" ")
    operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", rest.replace("\t", " "))
    return Instruction(line, guard, opcode.strip(), tuple(operands))


def _closing(text: str, start: int) -> int | None:
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return i
    return None


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
