"""Rewrites a parsed template so that everything it does passes the budget."""

from __future__ import annotations

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

TICK = "(tick)"
"""A filter that spends a step and returns what it is given. No template can spell a name with parentheses."""

LOOK = "(look)"
"""A filter that charges for looking at the whole of a value, and returns it."""

KEEP = "(keep)"
"""A filter that checks and charges a value that was just made, and returns it."""


class Meter(NodeTransformer):
    """Puts a TICK in every loop, a LOOK at what is compared or concatenated, a KEEP on what is built.

    Operators, calls, filters, tests and output need none: the environment has hooks for those.
    """

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Every iteration is a step, also one that the loop's own condition passes over."""
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_filter(TICK, nodes.Const(True), node), lineno=node.lineno))
        if node.test is not None:
            node.test = nodes.And(_filter(TICK, nodes.Const(True), node), node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """`~` prints its operands."""
        self.generic_visit(node)
        node.nodes = [_filter(LOOK, operand, node) for operand in node.nodes]
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """Comparing may walk both operands; with a constant, equality looks no further than its length."""
        self.generic_visit(node)
        operands: list[nodes.Compare | nodes.Operand] = [node, *node.ops]
        equality = all(operand.op in ("eq", "ne") for operand in node.ops)
        if not (equality and any(isinstance(operand.expr, nodes.Const) for operand in operands)):
            for operand in operands:
                operand.expr = _filter(LOOK, operand.expr, node)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        """A literal may nest one value many times."""
        return _filter(KEEP, self.generic_visit(node), node)

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        """As a list, unless it is the target of an assignment."""
        self.generic_visit(node)
        return _filter(KEEP, node, node) if node.ctx == "load" else node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """A slice is a copy; the compiler passes the environment's hook by."""
        self.generic_visit(node)
        return _filter(KEEP, node, node) if isinstance(node.arg, nodes.Slice) else node


def _filter(name: str, value: Any, at: nodes.Node) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=at.lineno)
