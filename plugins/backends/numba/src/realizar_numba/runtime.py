"""What an instance of the backend owns: threads, compiled kernels, and the memory of its weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs

from realizar.backend import Buffer, Plan, Step, StepFn
from realizar.dataflow import live_values
from realizar.graph import Block, Graph
from realizar.progress import Progress
from realizar_numba.cache import CodeCache
from realizar_numba.compiler import BlockCompiler
from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import aligned_matrix
from realizar_numba.ops import SingleOps
from realizar_numba.pool import ThreadPool
from realizar_numba.program import Program
from realizar_numba.weights.loader import WeightLoader
from realizar_numba.weights.packed import PackedWeight
from realizar_numba.workspace import Workspace


class Runtime:
    """Threads, kernels and weights of one backend instance."""

    def __init__(self, isa: str, num_threads: int, progress: Progress) -> None:
        self.cache = CodeCache()
        self.kernels = Kernels(isa, self.cache, progress)
        self.pool = ThreadPool(num_threads, self.kernels)
        self.ops = SingleOps(self.kernels, self.pool)
        self.loader = WeightLoader(self.kernels, self.pool)

    def make_plan(self, graph: Graph, weights: Mapping[str, Buffer], cache: Sequence[Any], step: Step) -> Plan:
        """A plan whose values start at cache lines."""
        rows = {True: len(step.logits_rows), False: len(step.input_ids)}
        values = {name: aligned_matrix(rows[name in graph.row_values], width) for name, width in graph.values.items()}
        return Plan(graph, _with_precise_heads(graph, weights), cache, step, values)

    def compile_ahead(self, plan: Plan) -> None:
        """Compile in several processes what the plan's blocks need and the cache lacks."""
        draft = attrs.evolve(plan, state={})
        with self.kernels.gathering(self.pool.num_threads):
            for block in {block.signature: block for block in plan.graph.blocks}.values():
                self.compile_block(block, draft)

    def compile_block(self, block: Block, plan: Plan) -> StepFn | None:
        """The block as a program, or None if it has nodes or weights that must be walked."""
        workspace = self._workspace(plan)
        program = Program(self.kernels, self.pool.num_threads, workspace.scratch)
        compiler = BlockCompiler(block, workspace, program, live_values(plan.graph))
        return ProgramRunner(program, workspace, self.pool) if compiler.compile() else None

    def merge(self, parts: Sequence[StepFn], plan: Plan) -> list[StepFn]:
        """The same parts with runs of neighbouring programs joined into one."""
        merged: list[StepFn] = []
        for fused, run in itertools.groupby(parts, lambda part: isinstance(part, ProgramRunner)):
            if fused:
                whole = Program(self.kernels, self.pool.num_threads)
                for part in run:
                    whole.extend(cast(ProgramRunner, part).program)
                merged.append(ProgramRunner(whole, self._workspace(plan), self.pool))
            else:
                merged += run
        return merged

    def notes(self) -> list[str]:
        """Types dequantized at load and what they cost; trouble with the compile cache."""
        return self.loader.notes() + self.cache.problems

    def close(self) -> None:
        """End the threads, and give the memory of the weights back."""
        self.pool.close()
        self.loader.arena.release()

    def _workspace(self, plan: Plan) -> Workspace:
        if "workspace" not in plan.state:
            plan.state["workspace"] = Workspace(plan, self.pool.num_threads)
        workspace: Workspace = plan.state["workspace"]
        return workspace


def _with_precise_heads(graph: Graph, weights: Mapping[str, Buffer]) -> dict[str, Buffer]:
    """The weights, with two lanes a row for matrices that meet only wanted rows: rounding there is in every logit."""
    rows, tokens = set[str](), set[str]()
    for block in graph.blocks:
        for node in block.nodes:
            if node.op == "linear":
                readers = rows if node.inputs[0] in graph.row_values else tokens
                readers.add(block.weights[node.inputs[1]].tensor)
    heads = {name: weights[name] for name in rows - tokens}
    precise = {
        name: attrs.evolve(weight, lanes_per_row=2)
        for name, weight in heads.items()
        if isinstance(weight, PackedWeight) and weight.takes_integers
    }
    return {**weights, **precise}


class ProgramRunner:
    """A StepFn: one program on a pool."""

    def __init__(self, program: Program, workspace: Workspace, pool: ThreadPool) -> None:
        self.program, self.workspace, self._pool = program, workspace, pool
        self._table = program.table()

    def __call__(self) -> None:
        self.workspace.update()
        self._pool.run(self._table, self.workspace.num_tokens)
