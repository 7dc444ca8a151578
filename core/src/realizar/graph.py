"""A model as data: nodes in blocks, blocks in a graph.

The graph knows two things that a flat list of ops does not: where a layer starts and ends, and which
layers are the same code. Values are named buffers rather than single assignments: the residual stream is
`x` before and after a layer, so equal layers are literally equal and a plan needs one buffer per name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from realizar.errors import ModelError
from realizar.ops import ACTIVATIONS, STEP_INPUTS, op


@attrs.frozen
class Node:
    """One op: reads `inputs` (values, weights by local name, step arrays), writes `output`."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attrs: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def key(self) -> tuple[Any, ...]:
        """Hashable identity of the node."""
        return (self.op, self.inputs, self.output, tuple(sorted(self.attrs.items())))


@attrs.frozen
class WeightSpec:
    """A weight that a block needs: its tensor's name, shape (outermost first) and type name."""

    tensor: str
    shape: tuple[int, ...]
    dtype: str


@attrs.frozen
class Block:
    """Nodes that run together, usually a layer.

    weights: local name -> WeightSpec. layer_id: which layer of the KV cache its attention uses.
    """

    name: str
    nodes: tuple[Node, ...]
    weights: Mapping[str, WeightSpec]
    layer_id: int | None = None

    @property
    def signature(self) -> tuple[Any, ...]:
        """Blocks of equal signature are the same code over other weights and another cache layer."""
        weights = tuple((local, spec.shape, spec.dtype) for local, spec in sorted(self.weights.items()))
        return tuple(node.key for node in self.nodes), weights


@attrs.frozen
class Graph:
    """A model: its blocks in order, the width of every value, the names of what goes in and out.

    values: name -> width, in float32 columns. Rows are T, except in `row_values`, where they are R.
    output: "logits", or hidden states of a model that gives no logits.
    """

    blocks: tuple[Block, ...]
    values: Mapping[str, int]
    row_values: frozenset[str] = frozenset({"last", "logits"})
    output: str = "logits"

    def __attrs_post_init__(self) -> None:
        for block in self.blocks:
            for node in block.nodes:
                self._check(block, node)

    def _check(self, block: Block, node: Node) -> None:
        spec = op(node.op)
        where = f"block {block.name!r}, node {node.op!r} -> {node.output!r}"
        if not spec.min_inputs <= len(node.inputs) <= len(spec.inputs):
            raise ModelError(f"{where}: takes {', '.join(spec.inputs)}; found {', '.join(node.inputs)}")
        if set(node.attrs) != set(spec.attributes):
            raise ModelError(f"{where}: needs attributes {spec.attributes}; found {tuple(node.attrs)}")
        if node.attrs.get("kind", ACTIVATIONS[0]) not in ACTIVATIONS:
            raise ModelError(f"{where}: unknown activation {node.attrs['kind']!r}; known: {', '.join(ACTIVATIONS)}")
        for name in node.inputs:
            if name not in self.values and name not in block.weights and name not in STEP_INPUTS:
                raise ModelError(f"{where}: input {name!r} is neither a value, a weight nor a step array")
        if node.output not in self.values:
            raise ModelError(f"{where}: the output has no width in Graph.values")
        if node.output in node.inputs and not (spec.in_place and node.output == node.inputs[0]):
            raise ModelError(f"{where}: {node.op} cannot write over its input")
        if not node.attrs.get("causal", True) and (node.attrs["sliding_window"] or node.attrs["alibi_slopes"]):
            raise ModelError(f"{where}: only causal attention has a sliding window or linear biases")

    @property
    def tensor_ops(self) -> dict[str, frozenset[str]]:
        """Which ops read each tensor: {"model.embed_tokens.weight": {"embedding", "linear"}}."""
        uses: dict[str, set[str]] = {}
        for block in self.blocks:
            for node in block.nodes:
                for name in node.inputs:
                    if name in block.weights:
                        uses.setdefault(block.weights[name].tensor, set()).add(node.op)
        return {tensor: frozenset(ops) for tensor, ops in uses.items()}

    @property
    def is_causal(self) -> bool:
        """Whether no token's output depends on a later one; otherwise a sequence is computed in one step."""
        return all(node.attrs.get("causal", True) for block in self.blocks for node in block.nodes)

    @property
    def attention_layers(self) -> tuple[tuple[int, int], ...]:
        """(num_key_value_heads, head_dim) of each cache layer, by layer_id."""
        layers = {
            block.layer_id: (node.attrs["num_key_value_heads"], node.attrs["head_dim"])
            for block in self.blocks
            for node in block.nodes
            if node.op == "attention"
        }
        if sorted(layers, key=lambda i: -1 if i is None else i) != list(range(len(layers))):
            raise ModelError(
                f"attention layers must be numbered 0..{len(layers) - 1}; found {sorted(map(str, layers))}"
            )
        return tuple(layers[i] for i in range(len(layers)))
