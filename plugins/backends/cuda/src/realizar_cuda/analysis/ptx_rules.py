"""Rules over PTX, whoever wrote it: the compiler, or a generator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from realizar_cuda.analysis.finding import Finding
from realizar_cuda.analysis.ptx import Entry, Instruction, Label, parse

MOST_PREDICATES = 8
"""A warp has seven predicate registers; more are kept in others, with instructions to move them."""

_ACCUMULATES = re.compile(r"^(add|fma|mad|dp4a|dp2a)\b")
_ENDS = re.compile(r"^(ret|exit|trap)\b")


def check_ptx(text: str) -> list[Finding]:
    """Findings in every kernel and function of a PTX text."""
    module = parse(text)
    found = [Finding("INVALID_SYNTAX", "", line, problem) for line, problem in module.problems]
    if not any(entry.is_kernel for entry in module.entries):
        found.append(Finding("NO_ENTRY", "", 0, "the text has no .entry: nothing can be launched"))
    for entry in module.entries:
        for rule in RULES:
            found += [Finding(bug, entry.name, line, message) for bug, line, message in rule(entry)]
    return sorted(set(found))


Found = Iterator[tuple[str, int, str]]


def _instructions(entry: Entry) -> list[Instruction]:
    return [item for item in entry.code if isinstance(item, Instruction)]


def _is_barrier(item: Instruction) -> bool:
    return item.opcode.startswith(("bar.sync", "barrier.sync", "bar.red", "barrier.red", "bar.warp"))


def shared_addresses(entry: Entry) -> Found:
    """Shared memory is addressed with 32 bits; a 64-bit register there is an address of another space."""
    wide = {i.operands[0] for i in _instructions(entry) if re.search(r"\.(u|s|b)64$", i.opcode) and i.operands}
    for item in _instructions(entry):
        if re.match(r"(ld|st|atom|red)\.(\w+\.)*shared", item.opcode):
            address = next((operand for operand in item.operands if operand.startswith("[")), "")
            register = re.search(r"%\w+", address)
            if register and (register[0] in wide or register[0].startswith("%rd")):
                message = f"{item.opcode} takes its address {address} from a 64-bit register"
                yield "SHARED_U64", item.line, message


def early_exits(entry: Entry) -> Found:
    """A thread that branches past a barrier, under a predicate of its own, keeps the others waiting."""
    labels = {item.name: i for i, item in enumerate(entry.code) if isinstance(item, Label)}
    barriers = [i for i, item in enumerate(entry.code) if isinstance(item, Instruction) and _is_barrier(item)]
    varying = _varying(entry)
    for i, item in enumerate(entry.code):
        if not isinstance(item, Instruction) or item.guard.lstrip("!") not in varying:
            continue
        if item.opcode.startswith("bra"):
            target = labels.get(item.operands[-1], len(entry.code))
        elif _ENDS.match(item.opcode):
            target = len(entry.code)
        else:
            continue
        passed = [barrier for barrier in barriers if i < barrier < target]
        if passed and not _rejoins(entry, passed[-1], target):
            message = f"some threads leave here for good, the others wait at line {entry.code[passed[0]].line}"
            yield "EARLY_EXIT_BARRIER", item.line, message


def _rejoins(entry: Entry, barrier: int, target: int) -> bool:
    """Whether there is a barrier behind the target too: then the branch is round a part, not out of the kernel."""
    rest = [item for item in entry.code[target:] if isinstance(item, Instruction)]
    return any(_is_barrier(item) for item in rest)


def _varying(entry: Entry) -> set[str]:
    """Registers that depend on the thread's number within the block."""
    found = {"%tid.x", "%tid.y", "%tid.z", "%laneid"}
    while True:
        before = len(found)
        for item in _instructions(entry):
            if item.operands and not item.opcode.startswith(("st.", "bra", "bar")):
                first, *rest = item.registers or ("",)
                if found & set(rest) and not item.operands[0].startswith("["):
                    found.update(re.findall(r"%\w+", item.operands[0]))
        if len(found) == before:
            return found


def missing_barriers(entry: Entry) -> Found:
    """A store to shared memory, then a load from another address of it, and no barrier between."""
    stored: dict[str, int] = {}
    for item in entry.code:
        if isinstance(item, Label):
            continue
        if _is_barrier(item):
            stored.clear()
        elif re.match(r"st\.(\w+\.)*shared", item.opcode):
            stored[item.operands[0]] = item.line
        elif re.match(r"ld\.(\w+\.)*shared", item.opcode):
            address = next((operand for operand in item.operands if operand.startswith("[")), "")
            others = sorted(line for other, line in stored.items() if other != address)
            if others:
                yield (
                    "MISSING_BARRIER",
                    item.line,
                    f"{address} is read after a store of line {others[0]}, with no barrier",
                )


def branches(entry: Entry) -> Found:
    """Branches to the next instruction, loops of nothing, and code that nothing reaches."""
    for i, item in enumerate(entry.code[:-1]):
        after = entry.code[i + 1]
        if not isinstance(item, Instruction):
            continue
        if item.opcode.startswith("bra") and isinstance(after, Label) and item.operands[-1] == after.name:
            yield (
                "LOOP_BRANCH_END",
                item.line,
                f"the branch goes to {after.name}, which comes next: nothing is repeated",
            )
        if (
            not item.guard
            and (_ENDS.match(item.opcode) or item.opcode.startswith("bra"))
            and isinstance(after, Instruction)
        ):
            yield "DEAD_CODE", after.line, f"nothing reaches {after.opcode}: it stands behind {item.opcode}"
    for first, last in _loops(entry):
        body = [item for item in entry.code[first:last] if isinstance(item, Instruction)]
        if not any(_does_something(item) for item in body):
            yield "EMPTY_LOOP", entry.code[first].line, "the loop only counts"


def _loops(entry: Entry) -> Iterator[tuple[int, int]]:
    """(label, branch back to it) by index."""
    labels = {item.name: i for i, item in enumerate(entry.code) if isinstance(item, Label)}
    for i, item in enumerate(entry.code):
        if isinstance(item, Instruction) and item.opcode.startswith("bra"):
            start = labels.get(item.operands[-1], i)
            if start < i:
                yield start, i


def _does_something(item: Instruction) -> bool:
    counts = re.match(r"(add|sub|setp|mov|bra)\b", item.opcode) and ".f" not in item.opcode
    return not counts


def accumulators(entry: Entry) -> Found:
    """A sum in a loop that is written elsewhere than where the next round reads it."""
    for first, last in _loops(entry):
        body = [item for item in entry.code[first : last + 1] if isinstance(item, Instruction)]
        written = {item.operands[0] for item in body if item.operands and not item.opcode.startswith(("st", "bra"))}
        rest = [item for item in entry.code[first:] if isinstance(item, Instruction)]
        for item in body:
            if not _ACCUMULATES.match(item.opcode) or ".f" not in item.opcode or not item.operands:
                continue
            result, added = item.operands[0], item.operands[-1]
            read = any(result in other.registers[1:] or result in other.operands[1:] for other in body)
            kept = any(result in " ".join(other.operands[1:]) for other in rest)
            if result != added and added.startswith("%") and added not in written and not read and kept:
                message = f"{item.opcode} adds to {added}, which the loop never changes: only the last {result} stays"
                yield "NON_INPLACE_ACCUM", item.line, message


def registers(entry: Entry) -> Found:
    """What the text alone says of registers: too many predicates, arrays that cannot be in any."""
    if entry.predicates > MOST_PREDICATES and _live_predicates(entry) > MOST_PREDICATES:
        yield "PRED_OVERFLOW", entry.line, f"more than {MOST_PREDICATES} predicates are alive at once"
    if entry.local_nbytes:
        message = (
            f"{entry.local_nbytes} bytes a thread are in local memory: an array whose index is not known, or spills"
        )
        yield "REG_SPILLS", entry.line, message


def _live_predicates(entry: Entry) -> int:
    """The most predicates between their first and last mention at one place."""
    seen: dict[str, list[int]] = {}
    for i, item in enumerate(_instructions(entry)):
        for name in re.findall(r"%p\d+", " ".join((item.guard, *item.operands))):
            seen.setdefault(name, []).append(i)
    spans = [(places[0], places[-1]) for places in seen.values()]
    return max((sum(start <= first <= end for start, end in spans) for first, _ in spans), default=0)


def moves(entry: Entry) -> Found:
    """Moves that change nothing."""
    previous: Instruction | None = None
    for item in entry.code:
        if isinstance(item, Label):
            previous = None
            continue
        if item.opcode.startswith("mov") and len(item.operands) == 2:
            same = item.operands[0] == item.operands[1]
            again = previous is not None and (previous.opcode, previous.operands) == (item.opcode, item.operands)
            back = previous is not None and previous.opcode == item.opcode and previous.operands == item.operands[::-1]
            if same or again or back:
                yield "REDUNDANT_MOV", item.line, f"{item.opcode} {', '.join(item.operands)} changes nothing"
        previous = item


def memory(entry: Entry) -> Found:
    """Four loads of neighbouring words that could be one of a vector."""
    runs: dict[str, list[tuple[int, int]]] = {}
    for item in entry.code:
        match = isinstance(item, Instruction) and re.fullmatch(r"ld\.global(\.nc)?\.[fbus]32", item.opcode)
        if isinstance(item, Instruction) and match:
            base, _, offset = item.operands[1].strip("[]").partition("+")
            runs.setdefault(base.strip(), []).append((int(offset or 0), item.line))
        elif isinstance(item, Label):
            yield from _neighbours(runs)
            runs.clear()
    yield from _neighbours(runs)


def _neighbours(runs: dict[str, list[tuple[int, int]]]) -> Found:
    for base, places in runs.items():
        offsets = {offset for offset, _ in places}
        start = min(offsets)
        if start % 16 == 0 and {start, start + 4, start + 8, start + 12} <= offsets:
            yield "UNOPT_MEM", places[0][1], f"four words behind {base} are loaded one by one: one vector would do"


RULES: tuple[Callable[[Entry], Found], ...] = (
    shared_addresses, early_exits, missing_barriers, branches, accumulators, registers, moves, memory,
)  # fmt: skip
"""Every rule over one kernel."""
