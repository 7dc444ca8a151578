"""Blocks of decode steps in few launches: norms inside products, residuals and gates behind them, heads in one.

A layer of a llama is then six kernels: q, k and v with the norm before them; heads; attention; o with the residual;
gate and up with their norm and activation; down with the residual. What fits no pattern runs node by node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs

from realizar.backend import Plan, StepFn
from realizar.dataflow import Dataflow, live_values
from realizar.graph import Block, Node
from realizar_cuda.attention import Attributes
from realizar_cuda.gemv import ADD, GATED, STORE, Target
from realizar_cuda.heads import HeadsCase, match_heads
from realizar_cuda.ops import Ops, address
from realizar_cuda.staged_step import staged
from realizar_cuda.weights import Weight

Bind = Callable[[Node], StepFn]
"""How a node runs on its own."""


@attrs.frozen
class Norm:
    """A norm that a product does itself. factors: their address."""

    factors: int = 0
    eps: float = 0.0


class BlockFusion:
    """Walks a block's nodes once; each method adds the launches of some nodes and tells which node comes next."""

    def __init__(self, block: Block, plan: Plan, ops: Ops, bind: Bind) -> None:
        self.block, self.nodes, self.plan, self.ops, self.bind = block, block.nodes, plan, ops, bind
        self.flow = Dataflow(block, live_values(plan.graph))
        self.calls: list[StepFn] = []

    def compile(self) -> Sequence[StepFn]:
        """The calls that run the block, in order."""
        i = 0
        while i < len(self.nodes):
            i = self._next(i)
        return self.calls

    def _next(self, i: int) -> int:
        node = self.nodes[i]
        if node.op == "rms_norm" and self._is_read_by_products_only(i):
            weight = self._weight(node.inputs[1])
            return self._products(i + 1, node.inputs[0], Norm(address(weight), node.attrs["eps"]))
        if node.op == "linear":
            return self._products(i, node.inputs[0], Norm())
        case = match_heads(self.nodes, i, self._weight, self.flow)
        if case is not None:
            return self._heads(case)
        self.calls.append(self.bind(node))
        return i + 1

    # Products

    def _is_read_by_products_only(self, i: int) -> bool:
        """Whether node i norms whole rows for products that follow at once, and for nobody else."""
        node = self.nodes[i]
        if self._weight(node.inputs[1]).shape != (self.plan.graph.values[node.inputs[0]],):
            return False
        group = self._group(i + 1) if i + 1 < len(self.nodes) else []
        reads = all(self.nodes[j].inputs[0] == node.output for j in group)
        writes_input = any(self.nodes[j].output == node.inputs[0] for j in group)
        return bool(group) and reads and not writes_input and self.flow.only_read_by(i, set(group))

    def _group(self, i: int) -> list[int]:
        """Nodes from i on that are products of one and the same value."""
        group: list[int] = []
        for j in range(i, len(self.nodes)):
            node = self.nodes[j]
            written = [self.nodes[g].output for g in group]
            if node.op != "linear" or node.inputs[0] != self.nodes[i].inputs[0] or node.inputs[0] in written:
                break
            group.append(j)
        return group

    def _products(self, i: int, x: str, norm: Norm) -> int:
        group = self._group(i)
        after = group[-1] + 1
        if len(group) >= 2 and self._is_gated(group[-2], group[-1]):
            self._append(group[:-2], x, norm)
            pair, activation = group[-2:], self.nodes[after]
            targets = [Target(self._matrix(j), self._address(activation.output)) for j in pair]
            self._run(x, targets, GATED, norm, activation.attrs["kind"])
            return after + 1
        if len(group) == 1 and self._is_residual(group[0]):
            target = self._target(group[0], self._address(self.nodes[after].output))
            self._run(x, [target], ADD, norm)
            return after + 1
        self._append(group, x, norm)
        return after

    def _append(self, group: Sequence[int], x: str, norm: Norm) -> None:
        """Products of one value: those of one type together, three at most."""
        kinds = dict.fromkeys(self._matrix(j).kind for j in group)
        for kind in kinds:
            alike = [
                self._target(j, self._address(self.nodes[j].output)) for j in group if self._matrix(j).kind == kind
            ]
            for start in range(0, len(alike), 3):
                self._run(x, alike[start : start + 3], STORE, norm)

    def _run(self, x: str, targets: Sequence[Target], epilogue: str, norm: Norm, kind: str = "relu") -> None:
        array = self.plan.values[x]
        self.calls.append(
            partial(
                self.ops.products.run,
                address(array),
                len(array),
                targets,
                epilogue,
                norm=norm.factors,
                eps=norm.eps,
                kind=kind,
            )  # fmt: skip
        )

    def _is_gated(self, gate: int, up: int) -> bool:
        """Whether two products feed nothing but the gate that follows them, and are alike."""
        after = up + 1
        if after == len(self.nodes) or self.nodes[after].op != "act_mul":
            return False
        pair = [self.nodes[gate], self.nodes[up]]
        return (
            self.nodes[after].inputs == (pair[0].output, pair[1].output)
            and self._dies_in(gate, after)
            and self._dies_in(up, after)
            and all(len(node.inputs) == 2 for node in pair)
            and self._matrix(gate).kind == self._matrix(up).kind
        )

    def _is_residual(self, i: int) -> bool:
        """Whether node i + 1 does nothing but add the product to a running sum."""
        if i + 1 == len(self.nodes) or self.nodes[i + 1].op != "add":
            return False
        total, term = self.nodes[i + 1].inputs
        product = self.nodes[i]
        is_sum = total == self.nodes[i + 1].output and term == product.output
        return is_sum and total not in (term, product.inputs[0]) and self.flow.only_read_by(i, {i + 1})

    def _dies_in(self, i: int, reader: int) -> bool:
        """Whether only `reader` sees what node i writes, or overwrites it there."""
        return self.flow.only_read_by(i, {reader})

    # Heads and attention

    def _heads(self, case: HeadsCase) -> int:
        node, step = self.nodes[case.attention], staged(self.plan)
        cache = self.plan.cache[self.block.layer_id or 0]
        q, k, v = (self.plan.values[name] for name in node.inputs)
        out = self.plan.values[node.output]
        a = node.attrs
        attributes = Attributes(
            a["num_heads"], a["scale"], a["sliding_window"], a["softcap"], a["alibi_slopes"], a["causal"]
        )
        self.calls += [
            partial(self.ops.attention.prepare, case, address(q), address(k), address(v), len(q), cache, step),
            partial(self.ops.attention.attend, address(q), address(out), len(q), attributes, cache, step),
        ]
        return case.attention + 1

    # Names to what they mean

    def _weight(self, name: str) -> Any:
        return self.plan.weights[self.block.weights[name].tensor]

    def _matrix(self, i: int) -> Weight:
        weight: Weight = self._weight(self.nodes[i].inputs[1])
        return weight

    def _target(self, i: int, out: int) -> Target:
        inputs = self.nodes[i].inputs
        return Target(self._matrix(i), out, address(self._weight(inputs[2])) if len(inputs) > 2 else 0)

    def _address(self, value: str) -> int:
        return address(self.plan.values[value])
