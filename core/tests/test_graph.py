"""Graphs are checked when they are made."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from realizar.errors import ModelError
from realizar.graph import Block, Graph, Node, WeightSpec
from realizar.ops import OPS, op

WEIGHTS = {"w": WeightSpec("model.w", (4, 4), "F32"), "n": WeightSpec("model.n", (4,), "F32")}
ATTENTION = {
    "num_heads": 4, "num_key_value_heads": 2, "head_dim": 1, "scale": 1.0, "sliding_window": 0, "softcap": 0.0,
    "alibi_slopes": (), "causal": True,
}  # fmt: skip


def graph(*nodes: Node, weights: dict[str, WeightSpec] = WEIGHTS) -> Graph:
    return Graph((Block("block", nodes, weights),), {"x": 4, "y": 4})


def attention_block(layer_id: int | None) -> Block:
    return Block("layer", (Node("attention", ("q", "q", "q"), "y", ATTENTION),), {}, layer_id)


def test_a_good_graph() -> None:
    made = graph(Node("rms_norm", ("x", "n"), "x", {"eps": 1e-5}), Node("linear", ("x", "w"), "y"))
    assert made.tensor_ops == {"model.n": {"rms_norm"}, "model.w": {"linear"}}
    assert made.attention_layers == ()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("linear", ("x",), "y"), r"block 'block', node 'linear' -> 'y': takes x, weight, bias\?; found x$"),
        (Node("add", ("x", "x", "x"), "y"), "takes x, y; found x, x, x"),
        (Node("rms_norm", ("x", "n"), "y"), r"needs attributes \('eps',\); found \(\)"),
        (Node("add", ("x", "y"), "x", {"eps": 1}), r"needs attributes \(\); found \('eps',\)"),
        (Node("linear", ("x", "v"), "y"), "input 'v' is neither a value, a weight nor a step array"),
        (Node("add", ("x", "y"), "z"), "the output has no width in Graph.values"),
        (Node("linear", ("x", "w"), "x"), "linear cannot write over its input"),
        (Node("add", ("x", "y"), "y"), "add cannot write over its input"),
        (Node("act", ("x",), "y", {"kind": "swoosh"}), "unknown activation 'swoosh'; known: relu, relu2"),
        (Node("conv", ("x",), "y"), "unknown op 'conv'; known: embedding, rms_norm"),
    ],
)
def test_a_bad_node_is_named(node: Node, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        graph(node)


@pytest.mark.parametrize("change", [{"sliding_window": 3}, {"alibi_slopes": (0.5,)}])
def test_what_only_causal_attention_has(change: dict[str, Any]) -> None:
    block = attention_block(0)
    made = Graph((block,), {"q": 4, "y": 4})
    assert made.is_causal
    node = attrs.evolve(block.nodes[0], attrs={**ATTENTION, "causal": False})
    assert not Graph((attrs.evolve(block, nodes=(node,)),), {"q": 4, "y": 4}).is_causal
    bad = attrs.evolve(node, attrs={**node.attrs, **change})
    with pytest.raises(ModelError, match="only causal attention has a sliding window or linear biases"):
        Graph((attrs.evolve(block, nodes=(bad,)),), {"q": 4, "y": 4})


def test_step_arrays_are_inputs() -> None:
    graph(Node("embedding", ("input_ids", "w"), "x", {"scale": 1.0}), Node("gather_rows", ("x", "logits_rows"), "y"))


def test_a_tensor_read_by_two_ops_is_listed_with_both() -> None:
    nodes = Node("embedding", ("input_ids", "w"), "x", {"scale": 1.0}), Node("linear", ("x", "w"), "y")
    assert graph(*nodes).tensor_ops == {"model.w": {"embedding", "linear"}}


def test_equal_signatures_mean_equal_code() -> None:
    node = Node("linear", ("x", "w"), "y")
    first = Block("layer 0", (node,), {"w": WeightSpec("model.0.w", (4, 4), "Q8_0")}, 0)
    second = Block("layer 1", (node,), {"w": WeightSpec("model.1.w", (4, 4), "Q8_0")}, 1)
    assert first.signature == second.signature
    assert hash(first.signature) == hash(second.signature)
    changes: tuple[dict[str, Any], ...] = (
        {"weights": {"w": WeightSpec("model.1.w", (4, 4), "Q4_0")}},
        {"weights": {"w": WeightSpec("model.1.w", (4, 8), "Q8_0")}},
        {"nodes": (Node("linear", ("y", "w"), "x"),)},
        {"nodes": (node, node)},
    )
    assert all(attrs.evolve(second, **change).signature != first.signature for change in changes)


def test_attention_layers_are_listed_in_order() -> None:
    blocks = attention_block(1), attention_block(0)
    assert Graph(blocks, {"q": 4, "y": 4}).attention_layers == ((2, 1), (2, 1))


@pytest.mark.parametrize("layer_ids", [(0, 2), (1,), (None,)])
def test_attention_layers_must_be_numbered(layer_ids: tuple[int | None, ...]) -> None:
    blocks = tuple(attention_block(layer_id) for layer_id in layer_ids)
    with pytest.raises(ModelError, match=r"attention layers must be numbered 0\.\."):
        _ = Graph(blocks, {"q": 4, "y": 4}).attention_layers


def test_optional_inputs_are_counted() -> None:
    assert {name for name, o in OPS.items() if o.min_inputs < len(o.inputs)} == {"linear", "layer_norm"}
    assert op("linear").min_inputs == 2
