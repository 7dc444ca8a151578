"""What is compared at a time: one node, or one block as the backend compiles it."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from realizar.graph import Block, Graph, Node

Level = Literal["op", "layer"]


@attrs.frozen
class Unit:
    """A piece of a graph that runs on its own.

    index: its place among all pieces. graph: the piece, as a graph of one block. reads: values that it takes from what
    ran before.
    """

    index: int
    name: str
    graph: Graph
    reads: tuple[str, ...]

    @property
    def writes(self) -> str:
        """The value that is compared."""
        return self.graph.output

    @property
    def signature(self) -> tuple[Any, ...]:
        """Units of equal signature are the same code over other weights."""
        return self.graph.blocks[0].signature


def units(graph: Graph, level: Level) -> list[Unit]:
    """The graph cut into nodes ("op") or blocks ("layer"), in order."""
    if level == "layer":
        pieces = [(block.name, block, block.nodes) for block in graph.blocks]
    else:
        pieces = [(_name(block, node), block, (node,)) for block in graph.blocks for node in block.nodes]
    return [_unit(i, name, graph, block, nodes) for i, (name, block, nodes) in enumerate(pieces)]


def first_layers(graph: Graph, count: int) -> Graph:
    """The graph with its first `count` layers only; what stands before and behind the layers stays."""
    kept = tuple(block for block in graph.blocks if block.layer_id is None or block.layer_id < count)
    return attrs.evolve(graph, blocks=kept)


def _name(block: Block, node: Node) -> str:
    """What a node does and with which weight: "layer 0: linear self_attn.q_proj -> q"."""
    weight = next((name for name in node.inputs if name in block.weights), "")
    return f"{block.name}: {' '.join(filter(None, (node.op, weight)))} -> {node.output}"


def _unit(index: int, name: str, graph: Graph, block: Block, nodes: tuple[Node, ...]) -> Unit:
    named = {local for node in nodes for local in node.inputs}
    weights = {local: spec for local, spec in block.weights.items() if local in named}
    piece = attrs.evolve(block, nodes=nodes, weights=weights)
    written: set[str] = set()
    reads: list[str] = []
    for node in nodes:
        reads += [value for value in node.inputs if value in graph.values and value not in written]
        written.add(node.output)
    whole = attrs.evolve(graph, blocks=(piece,), output=nodes[-1].output)
    return Unit(index, name, whole, tuple(dict.fromkeys(reads)))
