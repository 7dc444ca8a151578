"""Runs a graph on a backend through the engine's own model runner, on whatever batches a test likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import Backend, Bucket, CacheSpec
from realizar.engine.runner import ModelRunner
from realizar.engine.sequence import Chunk
from realizar.engine.sequence import Sequence as Running
from realizar.graph import Graph
from realizar.tensors import LazyTensor

Logits = NDArray[np.float32]

Schedule = tuple[tuple[tuple[int, int], ...], ...]
"""Steps of (sequence, how many of its tokens come next)."""


Prompts = tuple[tuple[int, ...], ...]
"""Token ids of each sequence."""


@attrs.frozen
class Program:
    """A graph, its tensors, and the tokens of each sequence that is to run through it.

    every_position: of each sequence, whether all its rows are wanted or only the last one.
    start: position of the first token.
    """

    graph: Graph
    tensors: Mapping[str, LazyTensor]
    prompts: Prompts
    every_position: tuple[bool, ...]
    start: int = 0


class Driver:
    """A loaded program on a backend, with a cache whose blocks are handed out in random order.

    Every sequence of the program has its own blocks; `restart` lets them be computed again.
    """

    def __init__(self, backend: Backend, program: Program, *, kv_type: str | None = None, block_size: int = 16) -> None:
        kv_type = kv_type or backend.kv_types[0]
        backend.options = attrs.evolve(backend.options, kv_type=kv_type)
        self.backend, self.program, self.block_size = backend, program, block_size
        lengths = [program.start + len(prompt) for prompt in program.prompts]
        needed = [-(-length // block_size) for length in lengths]
        uses = program.graph.tensor_ops
        backend.reserve([program.tensors[name] for name in uses])
        weights = {name: backend.load(program.tensors[name], ops) for name, ops in uses.items()}
        tokens = sum(map(len, program.prompts))
        spec = CacheSpec(program.graph.attention_layers, sum(needed) + 1, block_size, kv_type)
        limit = Bucket(tokens, len(lengths), tokens)
        self._runner = ModelRunner(backend, program.graph, weights, spec, limit, max(lengths))
        shuffled = np.random.default_rng(len(lengths)).permutation(spec.num_blocks).tolist()
        self._tables = [[shuffled.pop() for _ in range(count)] for count in needed]
        self.sequences: list[Running] = []
        self.restart()

    def restart(self, prompts: Prompts | None = None) -> None:
        """Forget all progress but not the cache's content; `prompts` of the same lengths replace the program's."""
        prompts = prompts or self.program.prompts
        self.sequences = [
            self._running(list(prompt), table, every)
            for prompt, table, every in zip(prompts, self._tables, self.program.every_position, strict=True)
        ]

    def step(self, chunks: Sequence[tuple[int, int]]) -> list[Logits]:
        """Run one step of (sequence, count); returns a copy of each chunk's rows."""
        return [rows.copy() for rows in self.step_views(chunks)]

    def step_views(self, chunks: Sequence[tuple[int, int]]) -> list[Logits]:
        """The same without the copies, as the engine does it."""
        return self._runner.run([Chunk.next(self.sequences[s], count) for s, count in chunks])

    def run(self, schedule: Schedule) -> list[Logits]:
        """Run all steps; returns the wanted rows of each sequence, in order."""
        found: list[list[Logits]] = [[] for _ in self.sequences]
        for chunks in schedule:
            for (s, _), rows in zip(chunks, self.step(chunks), strict=True):
                found[s].append(rows)
        return [np.concatenate(rows) for rows in found if rows]

    def _running(self, prompt: list[int], table: list[int], every_position: bool) -> Running:
        def never(*_: Any) -> None:
            raise AssertionError("the driver takes logits from the runner")

        start = self.program.start
        return Running(
            [0] * start + prompt, start + len(prompt), never, never,
            every_position=every_position, num_computed=start, block_table=list(table),
        )  # fmt: skip


def whole(prompts: Prompts) -> Schedule:
    """All sequences at once, each in one chunk."""
    return (tuple((s, len(prompt)) for s, prompt in enumerate(prompts)),)


def one_by_one(prompts: Prompts) -> Schedule:
    """Each sequence in a step of its own."""
    return tuple(((s, len(prompt)),) for s, prompt in enumerate(prompts))


def chunked(prompts: Prompts, chunks: Sequence[int]) -> Schedule:
    """Sequence s in chunks of `chunks[s]` tokens, the sequences side by side until each is done."""
    left = [len(prompt) for prompt in prompts]
    steps = []
    while any(left):
        step = tuple((s, min(chunks[s], count)) for s, count in enumerate(left) if count)
        for s, count in step:
            left[s] -= count
        steps.append(step)
    return tuple(steps)
