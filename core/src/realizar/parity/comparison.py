"""The walk through two backends, and the same ops again in between others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import Backend, Buffer
from realizar.dtypes import dtype
from realizar.graph import Graph
from realizar.parity.diagnosis import STATE, diagnose
from realizar.parity.error import normalized_mean_square_error
from realizar.parity.probe import diagnose_linear
from realizar.parity.side import ReferenceSide, Side
from realizar.parity.units import Level, Unit, units
from realizar.tensors import LazyTensor

Rows = NDArray[np.float32]
Steps = Sequence[Sequence[int]]
"""The token ids of each step; the steps follow one another in one sequence."""


@attrs.frozen
class Finding:
    """One unit in one step.

    error: normalized mean square error of the candidate on the reference's own inputs; free_error: of the candidate
    left to itself since the first token. diagnosis: the likely cause where `error` is beyond the tolerance, else None.
    """

    step: int
    unit: str
    rows: int
    columns: int
    error: float
    free_error: float
    diagnosis: str | None

    @property
    def ok(self) -> bool:
        """Whether the unit is within the tolerance."""
        return self.diagnosis is None


@attrs.frozen
class Repetition:
    """A unit run again among others on the same inputs; `differing` of `runs` had other bits than the first."""

    unit: str
    rows: int
    runs: int
    differing: int

    @property
    def ok(self) -> bool:
        """Whether every run gave the same bits."""
        return self.differing == 0

    @property
    def diagnosis(self) -> str | None:
        """The likely cause where bits differ."""
        return None if self.ok else STATE


def compare(
    graph: Graph, tensors: Mapping[str, LazyTensor], candidate: Backend, weights: Mapping[str, Buffer],
    reference: Backend, steps: Steps, *, level: Level = "op", tolerance: float = 1e-3, kv_type: str | None = None,
) -> Iterator[Finding]:  # fmt: skip
    """Each unit of each step through both backends, a finding at a time.

    The candidate runs twice: once on the reference's inputs, which shows where an error arises, and once on its own
    results, which shows what becomes of it. weights: the tensors as the candidate loaded them.
    tolerance: the greatest normalized mean square error of a unit.
    kv_type: of both caches; the candidate's default unless given, as far as the reference can hold it.
    """
    pieces = units(graph, level)
    kind = kv_type or next(kind for kind in candidate.kv_types if kind in reference.kv_types)
    sizes: dict[str, Any] = {"kv_type": kind, **_sizes(steps)}
    fed, free = (Side(candidate, graph, weights, **sizes) for _ in range(2))
    truth = ReferenceSide(reference, graph, tensors, **sizes)
    position = 0
    for number, token_ids in enumerate(steps):
        for side in (fed, free, truth):
            side.start_step(token_ids, position)
        position += len(token_ids)
        for unit in pieces:
            inputs = {name: truth.read(name) for name in unit.reads}
            expected, found = truth.run(unit), fed.run(unit, inputs)
            error = normalized_mean_square_error(found, expected)
            cause = None if error <= tolerance else _cause(candidate, unit, found, expected)
            free_error = normalized_mean_square_error(free.run(unit), expected)
            yield Finding(number, unit.name, len(found), found.shape[1], error, free_error, cause)


def repeat(
    graph: Graph, backend: Backend, weights: Mapping[str, Buffer], steps: Steps, *, rounds: int = 3,
    level: Level = "op",
) -> Iterator[Repetition]:  # fmt: skip
    """Every distinct unit of the graph again and again on the same inputs, at the sizes of all steps, among the others.

    The order is turned about from round to round, so that each unit follows others and other sizes of itself.
    """
    distinct = list({unit.signature: unit for unit in reversed(units(graph, level))}.values())[::-1]
    side = Side(backend, graph, weights, kv_type=backend.kv_types[0], **_sizes(steps))
    rng = np.random.default_rng(0)
    work = [(unit, ids, _random_inputs(graph, unit, len(ids), rng)) for ids in steps for unit in distinct]
    first: dict[int, Rows] = {}
    differing = dict.fromkeys(range(len(work)), 0)
    for turn in range(rounds + 1):
        for i in range(len(work)) if turn % 2 == 0 else reversed(range(len(work))):
            unit, token_ids, inputs = work[i]
            side.start_step(token_ids, 0)
            found = side.run(unit, inputs)
            differing[i] += not np.array_equal(first.setdefault(i, found).view(np.uint32), found.view(np.uint32))
    for i, (unit, token_ids, _) in enumerate(work):
        yield Repetition(unit.name, len(token_ids), rounds, differing[i])


def _cause(backend: Backend, unit: Unit, found: Rows, expected: Rows) -> str:
    """The likely cause; of a linear layer first what a product of ones of its size and type says."""
    block = unit.graph.blocks[0]
    if [node.op for node in block.nodes] == ["linear"]:
        weight = block.weights[block.nodes[0].inputs[1]]
        rows, columns = weight.shape
        if said := diagnose_linear(backend, len(found), columns, rows, dtype(weight.dtype)):
            return said
    return diagnose(found, expected)


def _sizes(steps: Steps) -> dict[str, int]:
    return {"max_tokens": max(map(len, steps)), "max_model_len": sum(map(len, steps))}


def _random_inputs(graph: Graph, unit: Unit, rows: int, rng: np.random.Generator) -> dict[str, Rows]:
    return {name: rng.standard_normal((rows, graph.values[name]), np.float32) for name in unit.reads}
