"""Which values are the same for all threads of a block, as far as the text tells."""

from __future__ import annotations

import re
from collections.abc import Mapping

from realizar_cuda.analysis.source_tree import Function, walk

SYNC = re.compile(r"\b__syncthreads(?:_\w+)?\s*\(")
_CALL = re.compile(r"\b(\w+)\s*(?:<[^;()]*>)?\s*\(")
_THREAD = re.compile(r"\b(?:threadIdx|lane_id|warp_id)\b")
ASSIGNED = re.compile(
    r"(?:^|[\s,(*&])(\w+)(?:\s*\[[^=]*\])?\s*[-+*/|&^%]?(?:<<|>>)?=(?!=)"
    r"\s*((?:[^,()]|\((?:[^()]|\([^()]*\))*\))+)"
)
"""(name, value) of each assignment or initialization in a statement."""


def barrier_functions(known: Mapping[str, Function]) -> frozenset[str]:
    """Names of functions that wait for the whole block, themselves or through what they call."""
    found = {name for name, function in known.items() if any(SYNC.search(s.text) for s, _ in walk(function.body))}
    while True:
        more = {
            name
            for name, function in known.items()
            if name not in found and any(found & set(_CALL.findall(s.text)) for s, _ in walk(function.body))
        }
        if not more:
            return frozenset(found)
        found |= more


def is_barrier(text: str, waiting: frozenset[str]) -> bool:
    """Whether the statement waits for the whole block."""
    return SYNC.search(text) is not None or any(name in waiting for name in _CALL.findall(text))


def varying(function: Function, waiting: frozenset[str]) -> frozenset[str]:
    """Names of variables that may differ between the threads of a block.

    What a function that waits for the block returns counts as the same for all: a block's sum, maximum, ticket.
    """
    found: set[str] = set()
    statements = [statement.text for statement, _ in walk(function.body)]
    while True:
        before = len(found)
        for text in statements:
            for name, value in ASSIGNED.findall(text):
                if varies(value, found, waiting):
                    found.add(name)
        if len(found) == before:
            return frozenset(found)


def varies(text: str, names: set[str] | frozenset[str], waiting: frozenset[str]) -> bool:
    """Whether an expression may differ between the threads of a block."""
    if is_barrier(text, waiting):
        return False
    return _THREAD.search(text) is not None or bool(names & set(re.findall(r"\w+", text)))
