"""What a model takes in memory, computed from the file's header before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from realizar.backend import Backend, Bucket, CacheSpec
from realizar.errors import MemoryExceeded
from realizar.graph import Graph
from realizar.tensors import LazyTensor

_MIB = 1 << 20


@attrs.frozen
class MemoryPlan:
    """Bytes of a model on a backend, for a number of sequences of `context` tokens each.

    scratch_nbytes: what a step works in. kv_token_nbytes: keys and values of one token, all layers.
    limit: the largest context that the model takes. budget_nbytes: what the device can give; None = not known.
    """

    weights_nbytes: int
    scratch_nbytes: int
    kv_token_nbytes: int
    kv_type: str
    context: int
    sequences: int
    limit: int
    block_size: int
    budget_nbytes: int | None

    @property
    def kv_nbytes(self) -> int:
        """Keys and values of all sequences, in whole blocks."""
        blocks = -(-self.context // self.block_size)
        return self.sequences * blocks * self.block_size * self.kv_token_nbytes

    @property
    def total_nbytes(self) -> int:
        """Everything together."""
        return self.weights_nbytes + self.scratch_nbytes + self.kv_nbytes

    @property
    def largest_context(self) -> int | None:
        """Tokens that each sequence may have at most within the budget, 0 if none; None = not known."""
        if self.budget_nbytes is None:
            return None
        room = self.budget_nbytes - self.weights_nbytes - self.scratch_nbytes
        block_nbytes = self.block_size * self.kv_token_nbytes * self.sequences
        blocks = max(0, room) // block_nbytes if block_nbytes else self.limit
        return int(min(self.limit, blocks * self.block_size))

    def prove(self, what: str) -> None:
        """Raise MemoryExceeded, with all numbers, if the budget is known and too small for `what`."""
        if self.budget_nbytes is None or self.total_nbytes <= self.budget_nbytes:
            return
        largest = self.largest_context or 0
        hint = f"a context of {largest} tokens fits: --ctx {largest}" if largest > 1 else "no context fits"
        raise MemoryExceeded(
            f"{what} needs {_size(self.total_nbytes)} (weights {_size(self.weights_nbytes)}, {self.kv_type} cache of "
            f"{self.sequences} x {self.context} tokens {_size(self.kv_nbytes)}, scratch {_size(self.scratch_nbytes)}), "
            f"available are {_size(self.budget_nbytes)}; {hint}"
        )


def plan_memory(
    backend: type[Backend], graph: Graph, tensors: Mapping[str, LazyTensor], *,
    kv_type: str, context: int, limit: int, bucket: Bucket, block_size: int, sequences: int = 1,
) -> MemoryPlan:  # fmt: skip
    """The plan of a graph on a backend, of which nothing is made and no tensor is read.

    bucket: the largest step. limit: the largest context that the model takes.
    """
    uses = graph.tensor_ops
    return MemoryPlan(
        weights_nbytes=backend.weights_nbytes([tensors[name] for name in uses]),
        scratch_nbytes=backend.scratch_nbytes(graph, bucket),
        kv_token_nbytes=CacheSpec(graph.attention_layers, 1, 1, kv_type).nbytes,
        kv_type=kv_type, context=context, sequences=sequences, limit=limit, block_size=block_size,
        budget_nbytes=backend.memory_budget(),
    )  # fmt: skip


def _size(nbytes: int) -> str:
    return f"{nbytes / _MIB:,.0f} MiB"
