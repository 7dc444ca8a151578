"""Compiles a block into a program: fused phases where nodes allow it, one phase a node where they do not.

The same kernels run singly when a block is walked, so both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realizar.dataflow import Dataflow
from realizar.graph import Block, Node
from realizar_numba.activations import BLOCK_SIZE, Activations
from realizar_numba.kernels.attention import append_attention
from realizar_numba.kernels.cache_writes import write_function
from realizar_numba.kernels.elementwise import append_elementwise
from realizar_numba.kernels.gated import append_gated
from realizar_numba.kernels.heads import HeadFunction, append_over_heads, rope_function
from realizar_numba.kernels.interleave import append_interleave
from realizar_numba.kernels.linear import Linear, LinearInput, append_linear, float_input, quantized_input
from realizar_numba.kernels.norm import append_norm
from realizar_numba.kernels.quantize import append_quantize
from realizar_numba.kernels.rows import append_embedding, append_gather
from realizar_numba.memory import Matrix, address
from realizar_numba.program import Program
from realizar_numba.weights.packed import PackedWeight
from realizar_numba.weights.packing import ROWS
from realizar_numba.workspace import Workspace


class BlockCompiler:
    """Walks a block's nodes once; each method appends the phases of some nodes and tells which node comes next."""

    def __init__(self, block: Block, workspace: Workspace, program: Program, live: frozenset[str]) -> None:
        self.block, self.nodes = block, block.nodes
        self.workspace, self.program = workspace, program
        self.flow = Dataflow(block, live)
        self._quantized: dict[str, Activations] = {}
        """The quantized form of a value, where it is up to date."""

    def compile(self) -> bool:
        """Append the whole block; False if a node has no phase, or a weight is not of this backend's making."""
        if not all(self._is_known(node) for node in self.nodes):
            return False
        i = 0
        while i < len(self.nodes):
            i = _APPENDERS[self.nodes[i].op](self, i)
        return True

    def _is_known(self, node: Node) -> bool:
        matrices = {"linear": 1, "embedding": 1}
        if node.op in matrices:
            return isinstance(self._weight(node.inputs[matrices[node.op]]), PackedWeight)
        return node.op in _APPENDERS

    def _weight(self, name: str) -> Any:
        return self.workspace.plan.weights[self.block.weights[name].tensor]

    def _vector(self, node: Node, index: int) -> Any:
        """A weight that may be absent."""
        return self._weight(node.inputs[index]) if len(node.inputs) > index else None

    def _step(self, name: str) -> int:
        """The address of an array of the step."""
        return address(getattr(self.workspace.plan.step, name))

    def _value(self, name: str) -> Matrix:
        return self.workspace.matrix(name)

    def _output(self, i: int) -> Matrix:
        """Node i's output as float rows; its quantized form is out of date from here on."""
        self._quantized.pop(self.nodes[i].output, None)
        return self._value(self.nodes[i].output)

    def _results(self, i: int, *, can_quantize: bool) -> tuple[Matrix | None, Activations | None]:
        """Where node i's output goes: float rows, quantized activations, or both, by who reads it."""
        out = self._output(i)
        name = self.nodes[i].output
        lanes = [self._lanes_read(j, name) for j in self.flow.readers(i)]
        if not (can_quantize and any(lanes)):
            return out, None
        activations = self._quantized[name] = self.workspace.activations(name, max(lanes))
        only_quantized = set(lanes) == {max(lanes)} and not self.flow.outlives(i)
        return (None if only_quantized else out), activations

    def _lanes_read(self, j: int, name: str) -> int:
        """Lanes a row if node j reads the value only as the input of a matrix kernel on int8, else 0."""
        node = self.nodes[j]
        is_linear = node.op == "linear" and node.inputs[0] == name and name not in node.inputs[1:]
        return _lanes(self._weight(node.inputs[1])) if is_linear else 0

    def _linear_input(self, name: str, lanes: int) -> LinearInput:
        x = self._value(name)
        if not lanes:
            tiles = self.workspace.float_tiles(name)
            append_interleave(self.program, x, tiles)
            return float_input(x, tiles)
        known = self._quantized.get(name)
        if known is None or known.lanes_per_row != lanes:
            known = self._quantized[name] = self.workspace.activations(name, lanes)
            append_quantize(self.program, x, known)
        return quantized_input(x, known)

    # Single nodes

    def embedding(self, i: int) -> int:
        """The next node, as in all of these."""
        node = self.nodes[i]
        weight, out = self._weight(node.inputs[1]), self._output(i)
        append_embedding(self.program, self._step(node.inputs[0]), weight, node.attrs["scale"], out)
        return i + 1

    def norm(self, i: int) -> int:
        node = self.nodes[i]
        x, weight = self._value(node.inputs[0]), self._weight(node.inputs[1])
        whole_blocks = weight.shape == (x.width,) and x.width % BLOCK_SIZE == 0
        out, activations = self._results(i, can_quantize=whole_blocks)
        bias = self._vector(node, 2)
        append_norm(self.program, node.op, x, weight, bias, node.attrs["eps"], out, activations)
        return i + 1

    def rope(self, i: int) -> int:
        node = self.nodes[i]
        if node.output != node.inputs[0]:
            append_elementwise(self.program, "copy", self._value(node.inputs[0]), None, self._output(i))
        append_over_heads(self.program, self._rotation(i), self._output(i).width // node.attrs["head_dim"])
        return i + 1

    def attention(self, i: int) -> int:
        node = self.nodes[i]
        heads = node.attrs["num_key_value_heads"]
        for kind, name in (("key", node.inputs[1]), ("value", node.inputs[2])):
            append_over_heads(self.program, self._cache_write(kind, name), heads)
        return self._attend(i)

    def elementwise(self, i: int) -> int:
        node = self.nodes[i]
        x = self._value(node.inputs[0])
        y = self._value(node.inputs[1]) if len(node.inputs) > 1 else None
        kind = node.attrs.get("kind", "")
        constant = node.attrs.get("cap", node.attrs.get("factor", 0.0))
        append_elementwise(self.program, node.op, x, y, self._output(i), kind=kind, constant=constant)
        return i + 1

    def gather_rows(self, i: int) -> int:
        node = self.nodes[i]
        append_gather(self.program, self._value(node.inputs[0]), self._step(node.inputs[1]), self._output(i))
        return i + 1

    # Linear layers and what fuses with them

    def linear(self, i: int) -> int:
        end = i + 1
        while end < len(self.nodes) and self._belongs_to_group(i, end):
            end += 1
        if self._is_gated(i, end):
            self._append_group(i, end - 2, {})
            return self._gated(end - 2)
        if end == i + 1 and self._is_residual(i):
            return self._residual(i)
        epilogues, following, written = self._epilogues(i, end)
        self._append_group(i, end, epilogues)
        return self._attend(following) if written else following

    def _belongs_to_group(self, i: int, j: int) -> bool:
        """Whether linear node j reads the same value as linear node i, which nothing from i on has overwritten."""
        x, node = self.nodes[i].inputs[0], self.nodes[j]
        outputs = [other.output for other in self.nodes[i:j]]
        return node.op == "linear" and node.inputs[0] == x and x not in outputs and node.output not in outputs

    def _append_group(self, i: int, end: int, epilogues: dict[str, list[HeadFunction]]) -> None:
        """Nodes i..end over one input: one phase for those that take it in the same form."""
        name = self.nodes[i].inputs[0]
        for lanes in (2, 1, 0):
            group = [j for j in range(i, end) if _lanes(self._weight(self.nodes[j].inputs[1])) == lanes]
            if group:
                x = self._linear_input(name, lanes)
                append_linear(self.program, x, [self._linear(j, epilogues) for j in group])

    def _linear(self, j: int, epilogues: dict[str, list[HeadFunction]]) -> Linear:
        node = self.nodes[j]
        functions = tuple(epilogues.get(node.output, ()))
        head_dim = self._head_dim(j) if functions else 0
        return Linear(
            self._weight(node.inputs[1]),
            self._vector(node, 2),
            self._output(j),
            head_dim=head_dim,
            epilogues=functions,
        )

    def _is_residual(self, i: int) -> bool:
        """Whether node i + 1 does nothing but add node i's output to a running sum."""
        if i + 1 == len(self.nodes) or not self.flow.only_read_by(i, {i + 1}):
            return False
        node = self.nodes[i + 1]
        total, term = (*node.inputs, "")[:2]
        x = self.nodes[i].inputs[0]
        return node.op == "add" and total == node.output and term == self.nodes[i].output and x != total != term

    def _residual(self, i: int) -> int:
        node = self.nodes[i]
        weight = self._weight(node.inputs[1])
        x = self._linear_input(node.inputs[0], _lanes(weight))
        linear = Linear(weight, self._vector(node, 2), self._output(i + 1), accumulate=True)
        append_linear(self.program, x, [linear])
        return i + 2

    def _is_gated(self, i: int, end: int) -> bool:
        """Whether the last two linear nodes of i..end feed nothing but an act_mul that follows at once."""
        gate, up = end - 2, end - 1
        if gate < i or end == len(self.nodes) or self.nodes[end].op != "act_mul":
            return False
        pair = [self.nodes[gate], self.nodes[up]]
        return (
            self.nodes[end].inputs == (pair[0].output, pair[1].output)
            and self.flow.only_read_by(gate, {end})
            and self.flow.only_read_by(up, {end})
            and all(len(node.inputs) == 2 for node in pair)
            and _lanes(self._weight(pair[0].inputs[1])) == _lanes(self._weight(pair[1].inputs[1]))
        )

    def _gated(self, gate: int) -> int:
        nodes = self.nodes[gate : gate + 2]
        weights = [self._weight(node.inputs[1]) for node in nodes]
        x = self._linear_input(nodes[0].inputs[0], _lanes(weights[0]))
        out, activations = self._results(gate + 2, can_quantize=weights[0].rows % BLOCK_SIZE == 0)
        append_gated(self.program, self.nodes[gate + 2].attrs["kind"], x, weights[0], weights[1], out, activations)
        return gate + 3

    # Heads

    def _head_dim(self, i: int) -> int:
        """head_dim of the rope or attention node that reads linear node i's output; 0 if heads are not whole groups."""
        for j in self.flow.readers(i):
            head_dim = self.nodes[j].attrs.get("head_dim", 0)
            if head_dim:
                return head_dim if head_dim % ROWS == 0 else 0
        return 0

    def _epilogues(self, i: int, end: int) -> tuple[dict[str, list[HeadFunction]], int, bool]:
        """What can follow each linear of i..end head by head: rotations, then cache writes of the attention node.

        Also the node after those, and whether it is the attention node whose keys and values are then written.
        """
        group = {self.nodes[j].output: j for j in range(i, end) if self._head_dim(j)}
        found: dict[str, list[HeadFunction]] = {}
        j = end
        while j < len(self.nodes) and self._rotates(j, group) and self.nodes[j].output not in found:
            found[self.nodes[j].output] = [self._rotation(j)]
            j += 1
        node = self.nodes[j] if j < len(self.nodes) else None
        if node is None or node.op != "attention" or not {node.inputs[1], node.inputs[2]} <= set(group):
            return found, j, False
        if node.inputs[1] == node.inputs[2]:
            return found, j, False
        for kind, name in (("key", node.inputs[1]), ("value", node.inputs[2])):
            found.setdefault(name, []).append(self._cache_write(kind, name))
        return found, j, True

    def _rotates(self, j: int, group: dict[str, int]) -> bool:
        node = self.nodes[j]
        return node.op == "rope" and node.inputs[0] == node.output and node.output in group

    def _rotation(self, j: int) -> HeadFunction:
        node = self.nodes[j]
        table, is_new = self.workspace.rope_table(node.attrs["inv_freq"], node.attrs["scale"])
        if is_new:
            table.append(self.program, self._step(node.inputs[1]), self.workspace.num_tokens)
        return rope_function(self.program, self._value(node.output), node.attrs["head_dim"], table)

    def _cache_write(self, kind: str, name: str) -> HeadFunction:
        cache = self.workspace.plan.cache[self.block.layer_id or 0]
        return write_function(self.program, kind, self._value(name), self._step("slot_mapping"), cache)

    def _attend(self, i: int) -> int:
        """Attention over keys and values that are in the cache."""
        node = self.nodes[i]
        out, activations = self._results(i, can_quantize=node.attrs["head_dim"] % BLOCK_SIZE == 0)
        append_attention(
            self.program,
            self._value(node.inputs[0]),
            self.workspace.plan.cache[self.block.layer_id or 0],
            self.workspace.step_arrays(),
            out,
            activations,
            num_heads=node.attrs["num_heads"],
            scale=node.attrs["scale"],
            sliding_window=node.attrs["sliding_window"],
            softcap=node.attrs["softcap"],
            alibi_slopes=node.attrs["alibi_slopes"],
            causal=node.attrs["causal"],
        )
        return i + 1


def _lanes(weight: PackedWeight) -> int:
    """Lanes of int8 that the weight's kernel takes for a row; 0: it takes floats."""
    return weight.lanes_per_row if weight.takes_integers else 0


_APPENDERS: dict[str, Callable[[BlockCompiler, int], int]] = {
    "embedding": BlockCompiler.embedding,
    "rms_norm": BlockCompiler.norm,
    "layer_norm": BlockCompiler.norm,
    "linear": BlockCompiler.linear,
    "rope": BlockCompiler.rope,
    "attention": BlockCompiler.attention,
    "add": BlockCompiler.elementwise,
    "act": BlockCompiler.elementwise,
    "act_mul": BlockCompiler.elementwise,
    "softcap": BlockCompiler.elementwise,
    "scale": BlockCompiler.elementwise,
    "gather_rows": BlockCompiler.gather_rows,
}
"""How each op becomes phases; a block with any other op is walked."""
