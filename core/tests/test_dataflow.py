"""Who reads what in a block, and what must be left behind for others."""

from __future__ import annotations

import pytest

from realizar.dataflow import Dataflow, live_values
from realizar.graph import Block, Graph, Node

FIRST = Block("first", (Node("add", ("x", "x"), "y"), Node("add", ("y", "x"), "z"), Node("add", ("z", "y"), "x")), {})
SECOND = Block("second", (Node("add", ("x", "x"), "y"), Node("add", ("y", "x"), "w")), {})
GRAPH = Graph((FIRST, SECOND), dict.fromkeys("xyzw", 4), output="w")


def test_live_is_what_is_read_before_it_is_written_and_the_output():
    assert live_values(GRAPH) == {"x", "w"}


@pytest.mark.parametrize(("node", "readers", "outlives"), [(0, [1, 2], False), (1, [2], False), (2, [], True)])
def test_readers_of_each_node(node, readers, outlives):
    flow = Dataflow(FIRST, live_values(GRAPH))
    assert flow.readers(node) == readers
    assert flow.outlives(node) == outlives


@pytest.mark.parametrize(
    ("node", "readers", "only"),
    [(0, {1, 2}, True), (0, {1}, False), (1, {2}, True), (1, {1, 2}, True), (2, {0}, False)],
)
def test_only_read_by(node, readers, only):
    assert Dataflow(FIRST, live_values(GRAPH)).only_read_by(node, readers) == only


def test_a_value_that_is_written_again_has_no_readers_behind_that():
    nodes = (Node("add", ("x", "x"), "y"), Node("scale", ("y",), "y", {"factor": 2.0}), Node("add", ("y", "x"), "z"))
    flow = Dataflow(Block("b", nodes, {}), frozenset({"y"}))
    assert (flow.readers(0), flow.readers(1)) == ([1], [2])
    assert not flow.outlives(0)
    assert flow.outlives(1)
