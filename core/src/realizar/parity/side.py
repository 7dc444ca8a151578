"""One backend with a plan whose units run one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import Backend, Buffer, CacheSpec, Step, StepFn
from realizar.graph import Graph
from realizar.parity.units import Unit
from realizar.tensors import LazyTensor

Rows = NDArray[np.float32]

BLOCK_SIZE = 16


def load_weights(backend: Backend, graph: Graph, tensors: Mapping[str, LazyTensor]) -> dict[str, Buffer]:
    """Every tensor that the graph reads, in the backend's layout."""
    uses = graph.tensor_ops
    backend.reserve([tensors[name] for name in uses])
    return {name: backend.load(tensors[name], ops) for name, ops in uses.items()}


class Side:
    """A backend, a cache of its own, and a function for each unit, made when it is first run.

    max_tokens: tokens of the longest step; max_model_len: tokens of the whole sequence.
    """

    def __init__(
        self, backend: Backend, graph: Graph, weights: Mapping[str, Buffer], *,
        kv_type: str, max_tokens: int, max_model_len: int,
    ) -> None:  # fmt: skip
        self.backend = backend
        blocks = -(-max_model_len // BLOCK_SIZE)
        cache = backend.make_cache(CacheSpec(graph.attention_layers, blocks, BLOCK_SIZE, kv_type))
        step = Step.empty(max_tokens=max_tokens, max_seqs=1, max_rows=max_tokens, max_blocks=blocks)
        self.plan = backend.make_plan(graph, weights, cache, step)
        self._functions: dict[int, StepFn] = {}

    def start_step(self, token_ids: Sequence[int], position: int) -> None:
        """Make the next step that of these tokens, the first one at `position`; all rows are wanted."""
        step, count = self.plan.step, len(token_ids)
        positions = np.arange(position, position + count)
        step.input_ids[:count] = token_ids
        step.token_type_ids[:count] = 0
        step.positions[:count] = positions
        step.slot_mapping[:count] = positions  # block b of the sequence is block b of the cache
        step.query_start_loc[:2] = 0, count
        step.context_lens[0] = position + count
        step.block_tables[0] = np.arange(step.block_tables.shape[1])
        step.logits_rows[:count] = np.arange(count)
        step.num_tokens, step.num_seqs, step.num_rows = count, 1, count

    def run(self, unit: Unit, inputs: Mapping[str, Rows] | None = None) -> Rows:
        """Run the unit on what is there, or on `inputs`; a copy of what it wrote."""
        for name, rows in (inputs or {}).items():
            self.backend.write(self.plan, name, rows)
        self.function(unit)()
        return self.read(unit.writes)

    def read(self, name: str) -> Rows:
        """A copy of a value's rows."""
        return self.backend.read(self.plan, name).copy()

    def function(self, unit: Unit) -> StepFn:
        """What runs the unit."""
        if unit.index not in self._functions:
            self._functions[unit.index] = self.backend.compile(attrs.evolve(self.plan, graph=unit.graph))
        return self._functions[unit.index]


class ReferenceSide(Side):
    """A side that reads a unit's weights when it runs and forgets them, so that no model is held as a whole."""

    def __init__(self, backend: Backend, graph: Graph, tensors: Mapping[str, LazyTensor], **sizes: Any) -> None:
        super().__init__(backend, graph, {}, **sizes)
        self._tensors = tensors

    def function(self, unit: Unit) -> StepFn:
        """What runs the unit, made anew."""
        weights = load_weights(self.backend, unit.graph, self._tensors)
        return self.backend.compile(attrs.evolve(self.plan, graph=unit.graph, weights=weights))
