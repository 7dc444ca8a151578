"""Runs scheduled chunks: fills the arrays of a bucket's plan, steps it, hands out the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import Backend, Bucket, Buffer, CacheSpec, Plan, Step, StepFn
from realizar.engine.sequence import Chunk
from realizar.engine.sequence import Sequence as EngineSequence
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
        self._cache = cache = backend.make_cache(cache_spec)
        self._buckets = [self._compile(graph, weights, cache, bucket) for bucket in backend.buckets(limit)]

    def run(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        """Compute the chunks in one step; each one's wanted logits [rows, V], views valid until the next step.

        Guesses do not count as computed: who takes the logits decides what is true of them.
        """
        compiled = self._fitting(chunks)
        _fill(compiled.plan.step, chunks, self.block_size)
        compiled.run()
        logits = self.backend.logits(compiled.plan)
        ends = accumulate(chunk.num_rows for chunk in chunks)
        for chunk in chunks:
            chunk.sequence.num_computed += chunk.count - chunk.num_drafts
        return [logits[end - chunk.num_rows : end] for end, chunk in zip(ends, chunks, strict=True)]

    def read_blocks(self, blocks: Sequence[int]) -> NDArray[np.uint8]:
        """The content of cache blocks, as `Backend.read_blocks`."""
        return self.backend.read_blocks(self._cache, blocks)

    def write_blocks(self, blocks: Sequence[int], content: NDArray[np.uint8]) -> None:
        """Replace the content of cache blocks, as `Backend.write_blocks`."""
        self.backend.write_blocks(self._cache, blocks, content)

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
        table, end = chunk.sequence.block_table, at + chunk.count
        if chunk.count == 1:
            _fill_token(step, at, chunk.sequence, block_size)
        else:
            _fill_tokens(step, at, end, chunk, block_size)
        step.query_start_loc[s], step.query_start_loc[s + 1] = at, end
        step.context_lens[s] = chunk.sequence.num_computed + chunk.count
        step.block_tables[s, : len(table)] = table
        step.logits_rows[row : row + chunk.num_rows] = range(end - chunk.num_rows, end)
        at, row = end, row + chunk.num_rows
    step.num_tokens, step.num_seqs, step.num_rows = at, len(chunks), row


def _fill_token(step: Step, at: int, sequence: EngineSequence, block_size: int) -> None:
    """The next token, by plain numbers: of a decode step all tokens, for which arrays of one would cost more."""
    position = sequence.num_computed
    step.input_ids[at] = sequence.token_ids[position]
    step.positions[at] = position
    step.slot_mapping[at] = sequence.block_table[position // block_size] * block_size + position % block_size


def _fill_tokens(step: Step, at: int, end: int, chunk: Chunk, block_size: int) -> None:
    """The next tokens, at..end of the step."""
    start = chunk.sequence.num_computed
    positions = np.arange(start, start + end - at, dtype=np.int32)
    step.input_ids[at:end] = chunk.token_ids
    step.positions[at:end] = positions
    table = np.asarray(chunk.sequence.block_table, np.int32)
    step.slot_mapping[at:end] = table[positions // block_size] * block_size + positions % block_size
