"""What a step must read and compute at least, from the graph and the sizes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from realizar.backend import CacheSpec, Floor
from realizar.bench.case import Case
from realizar.graph import Block, Graph, Node, WeightSpec
from realizar.tensors import LazyTensor


@attrs.frozen
class Cost:
    """Bytes and operations of a model's steps.

    Weights count as they are in the file, once a step; of a table that is only looked up, a row a sequence. Experts:
    those that `n_batch` tokens are expected to meet if all are equally likely. Cached keys and values count once a
    sequence. Operations are those of the weights' matrix products, a multiplication and an addition being two.
    """

    graph: Graph
    tensors: Mapping[str, LazyTensor]
    kv_type: str

    def decode_nbytes(self, context: float, n_batch: int = 1) -> float:
        """Bytes read by one step of `n_batch` sequences that have `context` tokens each, the new one included."""
        weights: dict[str, float] = {}
        for block, node in self._nodes():
            for spec in _weights(block, node):
                nbytes = _share(node, spec, n_batch) * self.tensors[spec.tensor].nbytes
                weights[spec.tensor] = max(weights.get(spec.tensor, 0.0), nbytes)
        return sum(weights.values()) + n_batch * self._cache_nbytes(context)

    def prefill_operations(self, n_prompt: int) -> int:
        """Operations on `n_prompt` tokens, the logits being wanted of the last one only."""
        total = 0
        for block, node in self._nodes():
            rows = 1 if node.output in self.graph.row_values else n_prompt
            used = node.attrs.get("num_experts_per_tok", 1)
            for spec in _weights(block, node):
                if node.op != "embedding" and len(spec.shape) > 1:
                    experts = used if len(spec.shape) == 3 else 1
                    total += 2 * rows * experts * math.prod(spec.shape[-2:])
        return total

    def tokens_per_s(self, case: Case, floor: Floor) -> float:
        """The most that the machine allows at its best: decode is bound by reading, prefill by int8 dot products."""
        if case.n_prompt:
            return case.n_prompt / self.prefill_operations(case.n_prompt) * max(floor.int8_ops_per_s)
        context = case.start + (case.n_gen + 1) / 2
        return case.n_batch / self.decode_nbytes(context, case.n_batch) * max(floor.bytes_per_s)

    def _nodes(self) -> Iterator[tuple[Block, Node]]:
        return ((block, node) for block in self.graph.blocks for node in block.nodes)

    def _cache_nbytes(self, context: float) -> float:
        return sum(
            CacheSpec(((a["num_key_value_heads"], a["head_dim"]),), 1, 1, self.kv_type).nbytes
            * min(context, a["sliding_window"] or context)
            for a in self._attentions()
        )

    def _attentions(self) -> Iterator[Mapping[str, Any]]:
        return (node.attrs for _, node in self._nodes() if node.op == "attention")


def _weights(block: Block, node: Node) -> Iterator[WeightSpec]:
    return (block.weights[name] for name in node.inputs if name in block.weights)


def _share(node: Node, spec: WeightSpec, n_batch: int) -> float:
    """How much of a tensor a step of `n_batch` tokens reads."""
    if node.op == "embedding":
        return min(1.0, n_batch / spec.shape[0])
    if len(spec.shape) == 3:
        used = node.attrs["num_experts_per_tok"] / spec.shape[0]
        return float(1 - (1 - used) ** n_batch)
    return 1.0
