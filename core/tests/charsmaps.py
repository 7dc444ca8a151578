"""Writes normalization rules as SentencePiece compiles them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import count
from typing import Any


def compiled(rules: Mapping[str, str], *, shifted: bool = False) -> bytes:
    """The trie and the replacements. shifted: offsets are multiples of 256 and stored without those bits."""
    blob, trie = b"", {}  # type: bytes, dict[int, Any]
    for key, text in rules.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = 1 << 31 | len(blob)
        blob += text.encode() + b"\0"
    units = {0: 0}
    _place(units, set(), 0, trie, 256 if shifted else 1)
    return file_of([units.get(i, 0) for i in range(max(units) + 1)], blob)


def file_of(units: list[int], blob: bytes) -> bytes:
    """Units and replacements behind the size of the first."""
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + blob


def _place(units: dict[int, int], bases: set[int], at: int, node: dict[int, Any], step: int) -> None:
    """Give the children of the node at `at` free units; label 0 is its value. bases: those that other nodes have."""
    free = (o for o in count(step, step) if at ^ o not in bases and not any(at ^ o ^ label in units for label in node))
    offset = next(free)
    bases.add(at ^ offset)
    units[at] |= offset << 10 if step == 1 else offset >> 8 << 10 | 1 << 9
    for label, child in node.items():
        units[at ^ offset ^ label] = label or child
    if 0 in node:
        units[at] |= 1 << 8
    for label, child in node.items():
        if label:
            _place(units, bases, at ^ offset ^ label, child, step)
