"""Reads the assembly that LLVM prints for x86-64: instructions, loops, and what a loop's vector instructions do.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2; the syntax is AT&T's, in which the
destination stands last.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import attrs

_LABEL = re.compile(r"^([.\w$]+):")
_INSTRUCTION = re.compile(r"^\s+(?:\{vex\}\s+)?([a-z]\w*)(?:\s+(.*))?$")
"""The prefix chooses between two encodings of an instruction."""

_REGISTER = re.compile(r"%([xyz])mm\d+")
_BITS = {"x": 128, "y": 256, "z": 512}

_KINDS = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "dot": r"v?(pdp|pmaddubsw|pmaddwd|dpbf16ps)",
        "fma": r"vfn?m(add|sub)",
        "convert": r"v?(cvt|pmov[sz]x|pmovs?[wdq][bwd])",
        "shift": r"v?(ps[lr]l|psra|pro[lr]|psh[lr]d)",
        "logic": r"v?(pand|por|pxor|pternlog|and|or|xor)",
        "compare": r"v?(pcmp|cmp|ptest|ucomi|comi)",
        "arithmetic": r"v?p?(add|sub|mul|div|max|min|abs|sign|sqrt|rcp|rsqrt|round|rndscale|scale|hadd|avg|get)",
        "shuffle": r"v?(p?shuf|p?perm|p?unpck|p?align|p?broadcast|p?blend|extract|insert|pextr|pinsr|"
        r"p?compress|p?expand|movhl|movlh|mov[sl][hl]dup|movddup)",
        "move": r"v?mov",
    }.items()
}
"""What a vector instruction does, by its mnemonic; the first that matches."""

_PRODUCT_BITS = {"pdpbusd": 8, "pmaddubsw": 8, "dpbf16ps": 16, "fmadd132ps": 32, "fmadd213ps": 32, "fmadd231ps": 32}
"""Bits of a register for each product."""


@attrs.frozen
class Instruction:
    """One line. operands: as printed."""

    mnemonic: str
    operands: str

    @property
    def bits(self) -> int:
        """Width of its widest vector register; 0 if it has none."""
        return max((_BITS[letter] for letter in _REGISTER.findall(self.operands)), default=0)

    @property
    def reads_memory(self) -> bool:
        """Whether an operand other than the last is in memory."""
        return re.search(r"\)(\{1to\d+\})?,", self.operands) is not None

    @property
    def writes_memory(self) -> bool:
        """Whether the last operand is in memory."""
        return re.search(r"\)(\s*\{%k\d\})?$", self.operands) is not None

    @property
    def kind(self) -> str:
        """A key of what vector instructions do, or "load", "store", "other"."""
        kind = next((kind for kind, pattern in _KINDS.items() if pattern.match(self.mnemonic)), "other")
        if kind == "move" or "broadcast" in self.mnemonic:
            return "store" if self.writes_memory else "load" if self.reads_memory else kind
        return kind

    @property
    def products(self) -> int:
        """Products of numbers that it adds up; 0 for all but dot products and fused multiplications."""
        per_product = _PRODUCT_BITS.get(self.mnemonic.removeprefix("v"), 0)
        return self.bits // per_product if per_product else 0

    def addresses(self, registers: Iterable[str]) -> bool:
        """Whether a memory operand starts from one of these registers."""
        return any(f"({register}" in self.operands for register in registers)


@attrs.frozen
class Loop:
    """The instructions of one pass. frame: registers that point into the stack."""

    instructions: tuple[Instruction, ...]
    frame: frozenset[str]

    @property
    def vectors(self) -> list[Instruction]:
        """Those with a vector register."""
        return [instruction for instruction in self.instructions if instruction.bits]

    def widths(self) -> dict[int, int]:
        """Vector instructions by bits of their widest register, widest first."""
        return dict(sorted(Counter(i.bits for i in self.vectors).items(), reverse=True))

    def kinds(self) -> dict[str, int]:
        """Vector instructions by what they do, most frequent first."""
        return dict(Counter(i.kind for i in self.vectors).most_common())

    def named(self, pattern: str) -> dict[str, int]:
        """How often each mnemonic occurs that begins with `pattern`, a regular expression."""
        return dict(Counter(i.mnemonic for i in self.instructions if re.match(pattern, i.mnemonic)).most_common())

    @property
    def num_spills(self) -> int:
        """Vector registers written to or read from the stack."""
        return sum(i.addresses(self.frame) for i in self.vectors)

    def products(self, pattern: str) -> int:
        """Products of one pass, of the instructions whose mnemonic begins with `pattern`."""
        return sum(i.products for i in self.instructions if re.match(pattern, i.mnemonic))


def hot_loop(assembly: str, matters: Callable[[Instruction], bool]) -> Loop | None:
    """Of the innermost loops with instructions that matter, the one with most of them; None if no loop has any.

    A loop is what lies between a label and the last jump back to it.
    """
    code = list(_parse(assembly))
    weights = [int(isinstance(item, Instruction) and matters(item)) for item in code]
    spans = [span for span in _loops(code) if sum(weights[slice(*span)])]
    innermost = [(a, b) for a, b in spans if not any((a, b) != (c, d) and a <= c and d <= b for c, d in spans)]
    if not innermost:
        return None
    begin, end = max(innermost, key=lambda span: sum(weights[slice(*span)]))
    return Loop(tuple(i for i in code[begin:end] if isinstance(i, Instruction)), _frame(code))


def _parse(assembly: str) -> Iterator[str | Instruction]:
    """Labels as texts, and instructions, in order; directives and comments are left out."""
    for line in assembly.splitlines():
        if label := _LABEL.match(line):
            yield label[1]
        elif instruction := _INSTRUCTION.match(line.split("#")[0].rstrip()):
            yield Instruction(instruction[1], instruction[2] or "")


def _loops(code: list[str | Instruction]) -> Iterator[tuple[int, int]]:
    """Where each loop begins and ends in the code."""
    labels = {item: i for i, item in enumerate(code) if isinstance(item, str)}
    ends: dict[int, int] = {}
    for i, item in enumerate(code):
        if isinstance(item, Instruction) and item.mnemonic.startswith("j"):
            begin = labels.get(item.operands.strip(), i)
            if begin < i:
                ends[begin] = i + 1
    yield from ends.items()


def _frame(code: list[str | Instruction]) -> frozenset[str]:
    """%rsp, and %rbp where the function keeps its frame there."""
    keeps = any(isinstance(i, Instruction) and i.operands.replace(" ", "") == "%rsp,%rbp" for i in code)
    return frozenset({"%rsp", "%rbp"} if keeps else {"%rsp"})
