"""How much an engine takes at once: tokens of a step, of a context, of the cache."""

from __future__ import annotations

from realizar.backend import Backend, Bucket, CacheSpec
from realizar.errors import RequestError
from realizar.graph import Graph
from realizar.memory_plan import MemoryPlan, plan_memory
from realizar.model import ModelConfig, ModelFile

BLOCK_SIZE = 16
"""Tokens of a KV cache block."""

LIMIT = Bucket(max_tokens=512, max_seqs=64, max_rows=64)
"""The largest step: prompts are computed in chunks that fill it up beside the running decodes."""

DEFAULT_CONTEXT = 32768
"""Context length when none is asked for and the model allows more, in tokens."""

CACHE_NBYTES = 1 << 30
"""Size up to which the KV cache is made to hold more than one full context."""


def context_of(config: ModelConfig, wanted: int | None) -> int:
    """Tokens of a context: as wanted, else all that the model takes, up to DEFAULT_CONTEXT."""
    limit = config.max_position_embeddings
    if wanted is None:
        return min(limit, DEFAULT_CONTEXT)
    if not 2 <= wanted <= limit:
        raise RequestError(f"a context of {wanted} tokens; this model takes 2 to {limit}")
    return wanted


def largest_step(graph: Graph, max_model_len: int) -> Bucket:
    """The largest step: rows for all tokens where a row is no logits, room for a text that must be computed at once."""
    if graph.output == "logits" and graph.is_causal:
        return LIMIT
    tokens = LIMIT.max_tokens if graph.is_causal else max(LIMIT.max_tokens, max_model_len)
    return Bucket(tokens, LIMIT.max_seqs, tokens)


def cache_spec(layers: tuple[tuple[int, int], ...], max_model_len: int, kv_type: str) -> CacheSpec:
    """Room for one full context, and for more of them while the cache stays within CACHE_NBYTES."""
    block_nbytes = CacheSpec(layers, 1, BLOCK_SIZE, kv_type).nbytes
    return CacheSpec(layers, cache_blocks(block_nbytes, max_model_len), BLOCK_SIZE, kv_type)


def cache_blocks(block_nbytes: int, max_model_len: int) -> int:
    """How many blocks of that size the cache has."""
    one = -(-max_model_len // BLOCK_SIZE)
    affordable = CACHE_NBYTES // max(1, block_nbytes)
    return max(one, min(affordable, LIMIT.max_seqs * one))


def memory_plan(
    backend: type[Backend], graph: Graph, file: ModelFile, *, kv_type: str, context: int, sequences: int = 1
) -> MemoryPlan:
    """What the model of a file takes on a backend, with so many full contexts."""
    assert file.config is not None
    return plan_memory(
        backend, graph, file.tensors, kv_type=kv_type, context=context, limit=file.config.max_position_embeddings,
        bucket=largest_step(graph, context), block_size=BLOCK_SIZE, sequences=sequences,
    )  # fmt: skip
