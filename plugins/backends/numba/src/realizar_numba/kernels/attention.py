"""Attention over the paged cache: which tiles there are, who computes them, and the phase in a program.

A sequence's query heads that share a key/value head go together, so that keys and values are read once for all of
them. Where there are few tiles for the threads, those of single tokens are cut into spans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from realizar_numba.activations import BLOCK_SIZE, Activations, destination
from realizar_numba.kernels.attention_tile import (
    ATTENTION,
    attend,
    attend_span,
    clear,
    emit,
    gather_queries,
    lowest_seen,
    merge,
    read_attention,
)
from realizar_numba.kernels.key_products import build_key_products
from realizar_numba.kernels.tile_memory import (
    SPAN,
    TILE_ROWS,
    part_nbytes,
    part_row_nbytes,
    parts_area,
    thread_nbytes,
    tile_shape,
)
from realizar_numba.kernels.turns import TURNS_NBYTES, end_turns, take_turn
from realizar_numba.kernels.value_sums import build_value_sums
from realizar_numba.kvcache import CHUNK, LayerCache
from realizar_numba.memory import Matrix
from realizar_numba.program import Program
from realizar_numba.records import fill
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import load_i32, load_i64
from realizar_numba.simd.sync import atomic_add, atomic_store

_TILES_PER_THREAD = 4
"""With fewer tiles than this for each thread, tiles of single tokens are cut into spans."""

_LINE = 64


@compiled
def _tile_tokens(a):
    """Tokens of a full tile."""
    return max(1, TILE_ROWS // a.heads_per_group)


@compiled
def _sequence(a, s):
    """First token of the step, tokens in the step, position of the first one, block table."""
    first = np.int64(load_i32(a.query_start_loc + 4 * s))
    length = np.int64(load_i32(a.query_start_loc + 4 * (s + 1))) - first
    return first, length, np.int64(load_i32(a.context_lens + 4 * s)) - length, a.block_tables + 4 * a.max_blocks * s


@compiled
def _count_tiles(a):
    """Tiles of the step."""
    tokens, total = _tile_tokens(a), 0
    for s in range(load_i64(a.num_seqs)):
        _, length, _, _ = _sequence(a, s)
        total += (length + tokens - 1) // tokens
    return total * a.num_key_value_heads * ((a.heads_per_group + TILE_ROWS - 1) // TILE_ROWS)


@compiled
def _attend_one_span(a, memory, table, token, kv_head, head, heads, position, span, slot):
    """One span of a single token's tile; the token is its sequence's last, so it sees the same if all is seen.

    Whoever brings the last span merges them all, in order.
    """
    gather_queries(a, memory, token, head, heads, heads)
    first, last = lowest_seen(a, position) // SPAN, position // SPAN
    counter = a.slots + slot * a.slot_nbytes
    parts = counter + _LINE
    part = parts + (span - first) * a.part_nbytes
    attend_span(a, memory, table, kv_head, head, heads, heads, position, position + 1, span, part)
    if atomic_add(counter, 1) == last - first:
        atomic_store(counter, 0)
        total = parts_area(memory)
        clear(total, heads)
        for i in range(last - first + 1):
            merge(a, total, parts + i * a.part_nbytes, heads)
        emit(a, total, token, head, heads, heads)


@compiled
def _attend_spans(a, memory, turn, mine, s, kv_head, h, slot):
    """The spans of a single token's tile that fall to this thread."""
    token, _, position, table = _sequence(a, s)
    heads, head = min(TILE_ROWS, a.heads_per_group - h), kv_head * a.heads_per_group + h
    for span in range(lowest_seen(a, position) // SPAN, position // SPAN + 1):
        if turn == mine:
            _attend_one_span(a, memory, table, token, kv_head, head, heads, position, span, slot)
            mine = take_turn(a.turns)
        turn += 1
    return turn, mine


@compiled
def _attend_tiles(a, memory, turn, mine, s, kv_head, h):
    """The tiles of a sequence against a key/value head that fall to this thread."""
    first, length, position, table = _sequence(a, s)
    heads, head = min(TILE_ROWS, a.heads_per_group - h), kv_head * a.heads_per_group + h
    tokens = _tile_tokens(a)
    for t in range(0, length, tokens):
        if turn == mine:
            rows = heads * min(tokens, length - t)
            attend(a, memory, table, first + t, kv_head, head, heads, rows, position + t, position + length)
            mine = take_turn(a.turns)
        turn += 1
    return turn, mine


def build_attention() -> Callable[..., Any]:
    """The phase of ATTENTION: tiles and spans, each taken by the thread that is free next."""

    @whole
    def attention(thread, num_threads, arguments):
        a = read_attention(arguments)
        memory = a.memory + thread * a.memory_nbytes
        few = _count_tiles(a) <= a.max_slots
        turn, slot, mine = (
            np.int64(0),
            np.int64(0),
            take_turn(a.turns),
        )  # literals would be types, and compile all twice
        for s in range(load_i64(a.num_seqs)):
            _, length, _, _ = _sequence(a, s)
            for kv_head in range(a.num_key_value_heads):
                for h in range(0, a.heads_per_group, TILE_ROWS):
                    if few and length == 1:
                        turn, mine = _attend_spans(a, memory, turn, mine, s, kv_head, h, slot)
                        slot += 1
                    else:
                        turn, mine = _attend_tiles(a, memory, turn, mine, s, kv_head, h)
        end_turns(a.turns, num_threads)

    return attention


@attrs.frozen
class StepArrays:
    """Addresses of the int32 arrays of a step that attention reads, and how wide its block tables are."""

    num_seqs: int
    query_start_loc: int
    context_lens: int
    block_tables: int
    max_blocks: int


def append_attention(
    program: Program,
    q: Matrix,
    cache: LayerCache,
    step: StepArrays,
    out: Matrix | None,
    activations: Activations | None,
    *,
    num_heads: int,
    scale: float,
    sliding_window: int,
    softcap: float,
    alibi_slopes: Sequence[float],
    causal: bool,
) -> None:
    """Append attention of q over a cache that already holds this step's keys and values.

    `activations` needs a head_dim of whole blocks of 32.
    """
    arguments = fill(
        ATTENTION,
        **attrs.asdict(step),
        **cache.layout(),
        **_work_areas(program, cache, step.max_blocks),
        **_kernels(program, cache.dtype, num_heads // cache.num_key_value_heads),
        q=q.address,
        q_stride=q.stride,
        out=out.address if out else 0,
        out_stride=out.stride if out else 0,
        **destination(activations),
        activation_blocks=num_heads * cache.head_dim // BLOCK_SIZE,
        heads_per_group=num_heads // cache.num_key_value_heads,
        causal=int(causal),
        sliding_window=sliding_window,
        slopes=_slopes(program, alibi_slopes),
        query_scale=scale / softcap if softcap else scale * math.log2(math.e),
        softcap=softcap * math.log2(math.e),
    )
    if activations:
        activations.private = False
    program.append(program.kernels.address("attention", build_attention), arguments)


def _slopes(program: Program, alibi_slopes: Sequence[float]) -> int:
    """Where each head's slope stands, for powers of two, times 0 to 15; 0 without slopes."""
    if not alibi_slopes:
        return 0
    slopes = np.outer(np.multiply(alibi_slopes, math.log2(math.e)), np.arange(CHUNK)).astype(np.float32)
    return program.keep(slopes)


def _work_areas(program: Program, cache: LayerCache, max_blocks: int) -> dict[str, int]:
    """Memory of each thread, and slots in which the spans of a tile meet."""
    max_spans = -(-max_blocks * cache.chunks_per_block * CHUNK // SPAN)
    memory_nbytes, part = thread_nbytes(cache.padded_dim), part_nbytes(TILE_ROWS, cache.padded_dim)
    slot_nbytes = _LINE + max_spans * part
    return {
        "memory": program.scratch("attention", memory_nbytes),
        "memory_nbytes": memory_nbytes,
        "turns": program.scratch("turns of attention", TURNS_NBYTES),
        "max_slots": _TILES_PER_THREAD * program.num_threads,
        "slots": program.scratch("spans of attention", _TILES_PER_THREAD * slot_nbytes),
        "slot_nbytes": slot_nbytes,
        "part_nbytes": part,
        "part_row_nbytes": part_row_nbytes(cache.padded_dim),
    }


def _kernels(program: Program, dtype: str, group: int) -> dict[str, int]:
    """Kernels for as many rows as the machine has registers for, and for what a token's group leaves over."""
    shape = tile_shape(program.kernels.isa)
    key_rows, value_rows = group % shape.key_rows or shape.key_rows, group % shape.value_rows or shape.value_rows
    chunks, vectors = max(1, shape.key_sums // key_rows), shape.value_vectors
    return {
        "key_rows": shape.key_rows,
        "wide_keys": _kernel(program, build_key_products, shape.key_rows, shape.key_chunks, dtype, False),
        "narrow_key_rows": key_rows,
        "narrow_keys": _kernel(program, build_key_products, key_rows, chunks, dtype, True),
        "value_rows": shape.value_rows,
        "wide_values": _kernel(program, build_value_sums, shape.value_rows, vectors, dtype, False),
        "narrow_value_rows": value_rows,
        "narrow_values": _kernel(program, build_value_sums, value_rows, vectors, dtype, True),
    }


def _kernel(program: Program, build: Any, rows: int, columns: int, dtype: str, prefetches: bool) -> int:
    label = f"attention ({dtype} {build.__name__.split('_')[1]}s, {rows} rows)"
    return program.kernels.address(label, build, rows, columns, dtype, prefetches)
