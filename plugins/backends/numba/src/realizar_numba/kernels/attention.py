"""Attention over the paged cache.

A tile is up to 8 rows against one key/value head: consecutive tokens of a sequence for one head, or, when a
sequence has one token in the step, all heads that share the key/value head, so that keys and values are read once.
Every row goes the same way whatever tile it is in: all scores, their exact maximum, exponentials, their sum by
columns of 16 positions, then the values in order of position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from realizar_numba.activations import (
    BLOCK_NBYTES,
    BLOCK_SIZE,
    Activations,
    destination,
    lane_address,
    quantize_block,
)
from realizar_numba.kvcache import CHUNK, LayerCache
from realizar_numba.memory import Matrix
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.floating import (
    add,
    div,
    fma,
    from_f16,
    keep_lanes,
    max_f32,
    maximum,
    mul,
    splat_f32,
    sub,
    sum_f32,
    zero_f32,
)
from realizar_numba.simd.functions import exp, tanh
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import (
    broadcast_f32,
    load_f16x16,
    load_f32,
    load_f32x16,
    load_i32,
    load_i64,
    store,
    store_f32,
    store_first_f32,
    store_i64,
)
from realizar_numba.simd.sync import call_address
from realizar_numba.simd.types import f32x16, get, put, registers

ATTENTION = record(
    "num_seqs", "q", "q_stride", "out", "out_stride", "activations", "lanes_per_row", "activation_blocks",
    "query_start_loc", "context_lens", "block_tables", "max_blocks", "chunks_per_block",
    "keys", "values", "key_head_nbytes", "key_chunk_nbytes", "value_head_nbytes", "value_chunk_nbytes",
    "head_dim", "padded_dim", "num_heads", "heads_per_group", "sliding_window",
    "scratch", "scratch_nbytes", "scores_nbytes", "tile_1", "tile_4", "tile_8",
    floats=("scale", "softcap"),
)  # fmt: skip

_read = reader(ATTENTION)

_MAX_ROWS = 8
_LOWEST = np.float32(-3e38)


@compiled
def _load_f16(address):
    return from_f16(load_f16x16(address))


@compiled
def _scratch_areas(a, thread):
    """A thread's own memory: output rows, queries [head_dim][8], 1 / sums, chunk ids of the sequence, scores."""
    out = a.scratch + thread * a.scratch_nbytes
    q = out + 4 * _MAX_ROWS * a.padded_dim
    inverses = q + 4 * _MAX_ROWS * a.padded_dim
    return out, q, inverses, inverses + 64, inverses + 64 + a.scores_nbytes


def scratch_nbytes(padded_dim: int, max_positions: int) -> int:
    """Bytes of one thread's scratch; see `_scratch_areas`."""
    return 2 * 4 * _MAX_ROWS * padded_dim + 64 + (1 + _MAX_ROWS) * 4 * max_positions


def _build_products(rows: int, chunks: int, load: Any, element: int) -> Any:
    """Dot products of `rows` queries with the keys of `chunks` chunks from c on, each summed in order of dimension."""
    new_sums = registers(f32x16, rows * chunks)

    @compiled
    def products(a, q, keys, ids, c, scores):
        sums = new_sums()
        for d in range(a.head_dim):
            for i in range(chunks):
                k = load(keys + load_i64(ids + 8 * (c + i)) * a.key_chunk_nbytes + CHUNK * element * d)
                for r in range(rows):
                    s = i * rows + r
                    put(sums, s, fma(broadcast_f32(q + 4 * (_MAX_ROWS * d + r)), k, get(sums, s)))
        for i in range(chunks):
            for r in range(rows):
                store(scores + r * a.scores_nbytes + 4 * CHUNK * (c + i), get(sums, i * rows + r))

    return products


@compiled
def _softmax(a, scores, position, first_chunk, last_chunk):
    """Products become exponentials of masked scores, in place; 1 / their sum."""
    low = position + 1 - a.sliding_window if a.sliding_window > 0 else 0
    scale, cap, largest = splat_f32(a.scale), splat_f32(a.softcap), splat_f32(_LOWEST)
    for c in range(first_chunk, last_chunk):
        p, start = scores + 4 * CHUNK * c, CHUNK * c
        v = mul(load_f32x16(p), scale)
        if a.softcap != np.float32(0):
            v = mul(cap, tanh(div(v, cap)))
        v = keep_lanes(v, low - start, position + 1 - start)
        store(p, v)
        largest = maximum(largest, v)
    top, total = splat_f32(max_f32(largest)), zero_f32()
    for c in range(first_chunk, last_chunk):
        e = exp(sub(load_f32x16(scores + 4 * CHUNK * c), top))
        store(scores + 4 * CHUNK * c, e)
        total = add(total, e)
    return np.float32(1) / sum_f32(total)


def _build_values(rows: int, vectors: int, load: Any, element: int) -> Any:
    """Weighted sums of `vectors` x 16 columns of the values, for `rows` rows, over positions in order."""
    new_sums = registers(f32x16, rows * vectors)

    @compiled
    def weighted(a, scores, inverses, values, ids, first_chunk, num_positions, out):
        sums = new_sums()
        for c in range(first_chunk, (num_positions + CHUNK - 1) // CHUNK):
            p = values + load_i64(ids + 8 * c) * a.value_chunk_nbytes
            weights = scores + 4 * CHUNK * c
            for _ in range(min(CHUNK, num_positions - CHUNK * c)):
                for v in range(vectors):
                    value = load(p + 16 * element * v)
                    for r in range(rows):
                        s = v * rows + r
                        put(sums, s, fma(broadcast_f32(weights + r * a.scores_nbytes), value, get(sums, s)))
                p += element * a.padded_dim
                weights += 4
        for v in range(vectors):
            for r in range(rows):
                total = mul(get(sums, v * rows + r), broadcast_f32(inverses + 4 * r))
                store(out + 4 * (a.padded_dim * r + 16 * v), total)

    return weighted


_ROWS_AND_CHUNKS = {1: 8, 4: 2, _MAX_ROWS: 1}
"""Rows of a tile -> chunks of keys taken at once: eight running sums hide the latency of a fused multiply-add."""


def build_tile(rows: int, dtype: str) -> Callable[..., Any]:
    """Attention of one tile of `count` <= `rows` rows; leaves [rows][padded_dim] in the thread's output area.

    Row r stands at position first_position + r * step.
    """
    load, element = {"F16": (_load_f16, 2), "F32": (load_f32x16, 4)}[dtype]
    many, value_rows = _ROWS_AND_CHUNKS[rows], min(rows, 4)
    products_one = _build_products(rows, 1, load, element)
    products_many = _build_products(rows, many, load, element) if many > 1 else products_one
    values_64, values_16 = (_build_values(value_rows, vectors, load, element) for vectors in (4, 1))

    @whole
    def tile(arguments, thread, kv_head, count, first_position, step):
        a = _read(arguments)
        out, q, inverses, ids, scores = _scratch_areas(a, thread)
        keys, values = a.keys + kv_head * a.key_head_nbytes, a.values + kv_head * a.value_head_nbytes
        num_positions = first_position + (count - 1) * step + 1
        first_chunk = max(0, first_position + 1 - a.sliding_window) // CHUNK if a.sliding_window > 0 else 0
        last_chunk = (num_positions + CHUNK - 1) // CHUNK
        c = first_chunk
        while c + many <= last_chunk:
            products_many(a, q, keys, ids, c, scores)
            c += many
        while c < last_chunk:
            products_one(a, q, keys, ids, c, scores)
            c += 1
        for r in range(count):
            row = scores + r * a.scores_nbytes
            store_f32(inverses + 4 * r, _softmax(a, row, first_position + r * step, first_chunk, last_chunk))
        for r in range(0, count, value_rows):
            row, inverse, row_out = scores + r * a.scores_nbytes, inverses + 4 * r, out + 4 * a.padded_dim * r
            v = 0
            while v + 64 <= a.padded_dim:
                values_64(a, row, inverse, values + element * v, ids, first_chunk, num_positions, row_out + 4 * v)
                v += 64
            while v < a.padded_dim:
                values_16(a, row, inverse, values + element * v, ids, first_chunk, num_positions, row_out + 4 * v)
                v += 16

    return tile


@compiled
def _gather_queries(a, thread, token, token_step, head, head_step, count):
    """Copy a tile's queries to the thread's scratch, dimension by dimension; rows beyond `count` are zero."""
    _, q, _, _, _ = _scratch_areas(a, thread)
    source = a.q + token * a.q_stride + 4 * a.head_dim * head
    row_nbytes = token_step * a.q_stride + 4 * a.head_dim * head_step
    for d in range(a.head_dim):
        for r in range(count):
            store_f32(q + 4 * (_MAX_ROWS * d + r), load_f32(source + r * row_nbytes + 4 * d))
        for r in range(count, _MAX_ROWS):
            store_f32(q + 4 * (_MAX_ROWS * d + r), np.float32(0))


@compiled
def _emit(a, thread, token, token_step, head, head_step, count):
    """Copy a tile's rows to where they belong, as floats, as quantized activations, or both."""
    rows, _, _, _, _ = _scratch_areas(a, thread)
    for r in range(count):
        source, t, h = rows + 4 * a.padded_dim * r, token + r * token_step, head + r * head_step
        if a.out != 0:
            out = a.out + t * a.out_stride + 4 * a.head_dim * h
            for d in range(0, a.head_dim, 16):
                store_first_f32(out + 4 * d, load_f32x16(source + 4 * d), a.head_dim - d)
        if a.activations != 0:
            lane = lane_address(a.activations, t * a.lanes_per_row, a.activation_blocks)
            for b in range(a.head_dim // BLOCK_SIZE):
                p, block = source + 4 * BLOCK_SIZE * b, h * (a.head_dim // BLOCK_SIZE) + b
                quantize_block(load_f32x16(p), load_f32x16(p + 64), lane + block * BLOCK_NBYTES, a.lanes_per_row)


@compiled
def _list_chunks(a, thread, sequence, num_positions):
    """Write where each chunk of 16 positions of a sequence lies in the cache."""
    _, _, _, ids, _ = _scratch_areas(a, thread)
    table = a.block_tables + 4 * a.max_blocks * sequence
    for c in range((num_positions + CHUNK - 1) // CHUNK):
        block = np.int64(load_i32(table + 4 * (c // a.chunks_per_block)))
        store_i64(ids + 8 * c, block * a.chunks_per_block + c % a.chunks_per_block)


def build_attention() -> Callable[..., Any]:
    """The phase of ATTENTION: tiles dealt out to the threads in turn."""

    @compiled
    def run(arguments, thread, token, token_step, head, head_step, count, position):
        a = _read(arguments)
        _gather_queries(a, thread, token, token_step, head, head_step, count)
        tile = a.tile_1 if count == 1 else a.tile_4 if count <= 4 else a.tile_8
        call_address(tile, (arguments, thread, head // a.heads_per_group, count, position, token_step))
        _emit(a, thread, token, token_step, head, head_step, count)

    @whole
    def attention(thread, num_threads, arguments):
        a = _read(arguments)
        turn = 0
        for s in range(load_i64(a.num_seqs)):
            first = np.int64(load_i32(a.query_start_loc + 4 * s))
            length = np.int64(load_i32(a.query_start_loc + 4 * (s + 1))) - first
            context = np.int64(load_i32(a.context_lens + 4 * s))
            _list_chunks(a, thread, s, context)
            token_step, head_step = (0, 1) if length == 1 else (1, 0)
            for t in range(0, length, _MAX_ROWS):
                for head in range(0, a.num_heads, a.heads_per_group):
                    for h in range(0, a.heads_per_group, _MAX_ROWS if length == 1 else 1):
                        if turn % num_threads == thread:
                            count = min(_MAX_ROWS, a.heads_per_group - h if length == 1 else length - t)
                            position = context - length + t
                            run(arguments, thread, first + t, token_step, head + h, head_step, count, position)
                        turn += 1

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
) -> None:
    """Append attention of q over a cache that already holds this step's keys and values.

    `activations` needs a head_dim of whole blocks of 32.
    """
    max_positions = step.max_blocks * cache.chunks_per_block * CHUNK
    thread_nbytes = scratch_nbytes(cache.padded_dim, max_positions)
    tiles = {f"tile_{rows}": _tile_kernel(program, rows, cache.dtype) for rows in _ROWS_AND_CHUNKS}
    arguments = fill(
        ATTENTION,
        **cache.layout(),
        num_seqs=step.num_seqs,
        q=q.address,
        q_stride=q.stride,
        out=out.address if out else 0,
        out_stride=out.stride if out else 0,
        **destination(activations),
        activation_blocks=num_heads * cache.head_dim // BLOCK_SIZE,
        query_start_loc=step.query_start_loc,
        context_lens=step.context_lens,
        block_tables=step.block_tables,
        max_blocks=step.max_blocks,
        chunks_per_block=cache.chunks_per_block,
        head_dim=cache.head_dim,
        padded_dim=cache.padded_dim,
        num_heads=num_heads,
        heads_per_group=num_heads // cache.num_key_value_heads,
        sliding_window=sliding_window,
        scratch=program.scratch("attention", thread_nbytes),
        scratch_nbytes=thread_nbytes,
        scores_nbytes=4 * max_positions,
        **tiles,
        scale=scale,
        softcap=softcap,
    )
    if activations:
        activations.private = False
    program.append(program.kernels.address("attention", build_attention), arguments)


def _tile_kernel(program: Program, rows: int, dtype: str) -> int:
    return program.kernels.address(f"attention tile ({rows} rows, {dtype})", build_tile, rows, dtype)
