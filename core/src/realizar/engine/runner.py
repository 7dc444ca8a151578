"""Runs scheduled chunks: fills the arrays of a bucket's plan, steps it, hands out the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import Backend, Bucket, Buffer, CacheSpec, Plan, Step, StepFn
from realizar.engine.sequence import Chunk
from realizar.graph import Graph


@attrs.frozen
class _Compiled:
    bucket: Bucket
    plan: Plan
    run: StepFn


class ModelRunner:
    """A graph on a backend: weights, KV cache, and one compiled plan per bucket."""

    def __init__(
        self, backend: Backend, graph: Graph, weights: Mapping[str, Buffer], cache_spec: CacheSpec, limit: Bucket,
        max_model_len: int,
    ) -> None:  # fmt: skip
        self.backend = backend
        self.block_size = cache_spec.block_size
        self._max_blocks = -(-max_model_len // self.block_size)
        cache = backend.make_cache(cache_spec)
        self._buckets = [self._compile(graph, weights, cache, bucket) for bucket in backend.buckets(limit)]

    def run(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        """Compute the chunks in one step; each one's wanted logits [rows, V], views valid until the next step."""
        compiled = self._fitting(chunks)
        _fill(compiled.plan.step, chunks, self.block_size)
        compiled.run()
        logits = self.backend.logits(compiled.plan)
        ends = np.cumsum([chunk.num_rows for chunk in chunks])
        for chunk in chunks:
            chunk.sequence.num_computed += chunk.count
        return [logits[end - chunk.num_rows : end] for end, chunk in zip(ends, chunks, strict=True)]

    def _compile(
        self, graph: Graph, weights: Mapping[str, Buffer], cache: Sequence[object], bucket: Bucket
    ) -> _Compiled:
        step = Step.empty(
            max_tokens=bucket.max_tokens,
            max_seqs=bucket.max_seqs,
            max_rows=bucket.max_rows,
            max_blocks=self._max_blocks,
        )
        plan = self.backend.make_plan(graph, weights, cache, step)
        return _Compiled(bucket, plan, self.backend.compile(plan))

    def _fitting(self, chunks: Sequence[Chunk]) -> _Compiled:
        counts = sum(chunk.count for chunk in chunks), len(chunks), sum(chunk.num_rows for chunk in chunks)
        return next(compiled for compiled in self._buckets if compiled.bucket.holds(*counts))


def _fill(step: Step, chunks: Sequence[Chunk], block_size: int) -> None:
    """Write the chunks into the step's arrays, one after another."""
    at = row = 0
    for s, chunk in enumerate(chunks):
        sequence, count = chunk.sequence, chunk.count
        start, end = sequence.num_computed, sequence.num_computed + chunk.count
        here = slice(at, at + count)
        positions = np.arange(start, end, dtype=np.int32)
        table = np.asarray(sequence.block_table, np.int32)
        step.input_ids[here] = sequence.token_ids[start:end]
        step.positions[here] = positions
        step.slot_mapping[here] = table[positions // block_size] * block_size + positions % block_size
        step.query_start_loc[s : s + 2] = at, at + count
        step.context_lens[s] = end
        step.block_tables[s, : len(table)] = table
        step.logits_rows[row : row + chunk.num_rows] = np.arange(at + count - chunk.num_rows, at + count)
        at, row = at + count, row + chunk.num_rows
    step.num_tokens, step.num_seqs, step.num_rows = at, len(chunks), row
