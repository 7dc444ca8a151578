"""One tile of attention: its queries, the spans of positions that they see, and where its rows go.

For each span: all products, their exact maximum, base-2 exponentials of what they lack to it, the sums of those by
columns of 16 positions, and the values weighted by them. Spans are merged in order, each rescaled to the maximum so
far (Milakov and Gimelshein 2018, arXiv:1805.02867). A row goes through the same operations in whatever tile it is.
"""

from __future__ import annotations

import numpy as np

from realizar_numba.activations import BLOCK_NBYTES, BLOCK_SIZE, lane_address, quantize_block
from realizar_numba.kernels.tile_memory import (
    QUERY_NBYTES,
    SCORES_NBYTES,
    SPAN,
    SPAN_CHUNKS,
    ids_area,
    parts_area,
    scaled_area,
    scores_area,
    sums_of,
)
from realizar_numba.kvcache import CHUNK
from realizar_numba.records import reader, record
from realizar_numba.simd.floating import (
    add,
    fma,
    keep_lanes,
    max_f32,
    maximum,
    mul,
    splat_f32,
    sub,
    sum_f32,
    zero_f32,
)
from realizar_numba.simd.functions import exp2, tanh
from realizar_numba.simd.jit import called, compiled
from realizar_numba.simd.memory import (
    load_f32,
    load_f32x16,
    load_first_f32,
    load_i32,
    store,
    store_f32,
    store_first_f32,
    store_i64,
)
from realizar_numba.simd.sync import call_address

ATTENTION = record(
    "num_seqs", "q", "q_stride", "out", "out_stride", "activations", "lanes_per_row", "activation_blocks",
    "query_start_loc", "context_lens", "block_tables", "max_blocks", "chunks_per_block",
    "keys", "values", "chunk_nbytes", "head_nbytes", "scales", "head_dim", "padded_dim",
    "num_key_value_heads", "heads_per_group", "causal", "sliding_window", "slopes",
    "key_rows", "wide_keys", "narrow_key_rows", "narrow_keys",
    "value_rows", "wide_values", "narrow_value_rows", "narrow_values",
    "memory", "memory_nbytes", "turns", "max_slots", "slots", "slot_nbytes", "part_nbytes", "part_row_nbytes",
    floats=("query_scale", "softcap"),
)  # fmt: skip

read_attention = reader(ATTENTION)

_LOWEST, _UNSEEN = np.float32(-3e38), np.float32(-np.inf)
"""Maxima: before any score, and of a span that a row does not see."""


@compiled
def lowest_seen(a, position):
    """The first position that a query sees."""
    return max(0, position + 1 - a.sliding_window) if a.sliding_window > 0 else 0


@compiled
def seen_until(a, position, length):
    """The position after the last that a query sees; length: of its sequence after this step."""
    return position + 1 if a.causal != 0 else length


@called
def gather_queries(a, q, token, head, heads, rows):
    """Copy a tile's queries, scaled, to rows of QUERY_NBYTES: row r is head + r % heads of token + r // heads."""
    scale = splat_f32(a.query_scale)
    for r in range(rows):
        source = a.q + (token + r // heads) * a.q_stride + 4 * a.head_dim * (head + r % heads)
        for d in range(0, a.head_dim, 16):
            store(q + QUERY_NBYTES * r + 4 * d, mul(load_first_f32(source + 4 * d, a.head_dim - d), scale))


@compiled
def _list_chunks(a, ids, table, first, count):
    """Write which chunks of the cache hold a sequence's chunks from `first` on."""
    for c in range(count):
        block = np.int64(load_i32(table + 4 * ((first + c) // a.chunks_per_block)))
        store_i64(ids + 8 * c, block * a.chunks_per_block + (first + c) % a.chunks_per_block)


@compiled
def _multiply_keys(a, memory, kv_head, count, rows):
    """Scores of all rows against `count` chunks; the last rows may be computed twice, with the same result."""
    keys, row = a.keys + kv_head * a.head_nbytes, 0
    while row < rows:
        kernel, taken = a.wide_keys, a.key_rows
        if rows - row < taken:
            kernel, taken = a.narrow_keys, a.narrow_key_rows
            row = min(row, rows - taken)
        q, scores = memory + QUERY_NBYTES * row, scores_area(memory) + 4 * CHUNK * row
        call_address(kernel, (q, keys, a.chunk_nbytes, a.head_dim, a.scales, ids_area(memory), count, scores))
        row += taken


@compiled
def _add_values(a, memory, kv_head, num_positions, rows, part):
    """Weighted values of all rows, into a part."""
    values, row = a.values + kv_head * a.head_nbytes, 0
    while row < rows:
        kernel, taken = a.wide_values, a.value_rows
        if rows - row < taken:
            kernel, taken = a.narrow_values, a.narrow_value_rows
            row = min(row, rows - taken)
        weights = scores_area(memory) + 4 * CHUNK * row
        out = sums_of(part, a.part_row_nbytes, row) + 4 * CHUNK
        call_address(
            kernel,
            (
                weights,
                values,
                a.chunk_nbytes,
                a.padded_dim,
                a.scales,
                scaled_area(memory),
                ids_area(memory),
                num_positions,
                out,
                a.part_row_nbytes,
            ),
        )
        row += taken


@compiled
def _find_maximum(a, scores, first, last, begin, end, slopes, own):
    """Cap and bias the scores of chunks first..last, mask all but positions begin..end; the largest.

    slopes: a head's slope times 0 to 15, or 0; the query stands at position `own`.
    """
    cap, largest = splat_f32(a.softcap), splat_f32(_LOWEST)
    for c in range(first, last):
        v = load_f32x16(scores + SCORES_NBYTES * c)
        if a.softcap != np.float32(0):
            v = mul(cap, tanh(v))
            store(scores + SCORES_NBYTES * c, v)
        if slopes != 0:
            to_chunk = mul(splat_f32(load_f32(slopes + 4)), splat_f32(np.float32(CHUNK * c - own)))
            v = add(v, add(to_chunk, load_f32x16(slopes)))
            store(scores + SCORES_NBYTES * c, v)
        if CHUNK * c < begin or CHUNK * (c + 1) > end:
            v = keep_lanes(v, begin - CHUNK * c, end - CHUNK * c)
            store(scores + SCORES_NBYTES * c, v)
        largest = maximum(largest, v)
    return max_f32(largest)


@compiled
def _weigh(a, scores, count, begin, end, slopes, own, sums):
    """Scores of positions begin..end become weights, those of the other positions of `count` chunks 0; the maximum."""
    if end <= begin:
        return _UNSEEN
    first, last = begin // CHUNK, (end + CHUNK - 1) // CHUNK
    largest = _find_maximum(a, scores, first, last, begin, end, slopes, own)
    top, total = splat_f32(largest), zero_f32()
    for c in range(first, last):
        weight = exp2(sub(load_f32x16(scores + SCORES_NBYTES * c), top))
        store(scores + SCORES_NBYTES * c, weight)
        total = add(total, weight)
    for c in range(first):
        store(scores + SCORES_NBYTES * c, zero_f32())
    for c in range(last, count):
        store(scores + SCORES_NBYTES * c, zero_f32())
    store(sums, total)
    return largest


@called
def attend_span(a, memory, table, kv_head, head, rows, heads, position, length, span, part):
    """Leave in `part` what a tile's rows get from one span; row r stands at position + r // heads."""
    start = SPAN * span
    first = max(0, lowest_seen(a, position) - start) // CHUNK
    stop = min(SPAN, seen_until(a, position + (rows - 1) // heads, length) - start)
    origin, num_positions = start + CHUNK * first, stop - CHUNK * first
    count = (num_positions + CHUNK - 1) // CHUNK
    _list_chunks(a, ids_area(memory), table, span * SPAN_CHUNKS + first, count)
    _multiply_keys(a, memory, kv_head, count, rows)
    for r in range(rows):
        own = position + r // heads
        begin, end = max(0, lowest_seen(a, own) - origin), min(seen_until(a, own, length) - origin, num_positions)
        scores, sums = scores_area(memory) + 4 * CHUNK * r, sums_of(part, a.part_row_nbytes, r)
        slopes = a.slopes + 4 * CHUNK * (head + r % heads) if a.slopes != 0 else 0
        store_f32(part + 4 * r, _weigh(a, scores, count, begin, end, slopes, own - origin, sums))
    _add_values(a, memory, kv_head, num_positions, rows, part)


@compiled
def clear(total, rows):
    """Make a part that has seen nothing."""
    for r in range(rows):
        store_f32(total + 4 * r, _LOWEST)


@called
def merge(a, total, part, rows):
    """Add a span's part to the total of the spans before it."""
    for r in range(rows):
        new, before = load_f32(part + 4 * r), load_f32(total + 4 * r)
        to, more = sums_of(total, a.part_row_nbytes, r), sums_of(part, a.part_row_nbytes, r)
        if before == _LOWEST:
            store_f32(total + 4 * r, new)
            for d in range(0, CHUNK + a.padded_dim, CHUNK):
                store(to + 4 * d, load_f32x16(more + 4 * d))
        elif new != _UNSEEN:
            top = max(before, new)
            store_f32(total + 4 * r, top)
            keep, take = exp2(splat_f32(before - top)), exp2(splat_f32(new - top))
            for d in range(0, CHUNK + a.padded_dim, CHUNK):
                store(to + 4 * d, fma(load_f32x16(more + 4 * d), take, mul(load_f32x16(to + 4 * d), keep)))


@called
def emit(a, total, token, head, heads, rows):
    """Divide each row by its sum; write it where it belongs, as floats, as quantized activations, or both."""
    for r in range(rows):
        sums, t, h = sums_of(total, a.part_row_nbytes, r), token + r // heads, head + r % heads
        row, inverse = sums + 4 * CHUNK, splat_f32(np.float32(1) / sum_f32(load_f32x16(sums)))
        for d in range(0, a.head_dim, 16):
            value = mul(load_f32x16(row + 4 * d), inverse)
            store(row + 4 * d, value)
            if a.out != 0:
                store_first_f32(a.out + t * a.out_stride + 4 * (a.head_dim * h + d), value, a.head_dim - d)
        if a.activations != 0:
            lane = lane_address(a.activations, t * a.lanes_per_row, a.activation_blocks)
            blocks = a.head_dim // BLOCK_SIZE
            for b in range(blocks):
                p, block = row + 4 * BLOCK_SIZE * b, lane + (h * blocks + b) * BLOCK_NBYTES
                quantize_block(load_f32x16(p), load_f32x16(p + 64), block, a.lanes_per_row)


@compiled
def attend(a, memory, table, token, kv_head, head, heads, rows, position, length):
    """A whole tile: every span that its rows see."""
    total = parts_area(memory)
    part = total + a.part_nbytes
    gather_queries(a, memory, token, head, heads, rows)
    clear(total, rows)
    first, last = lowest_seen(a, position) // SPAN, (seen_until(a, position + (rows - 1) // heads, length) - 1) // SPAN
    for span in range(first, last + 1):
        attend_span(a, memory, table, kv_head, head, rows, heads, position, length, span, part)
        merge(a, total, part, rows)
    emit(a, total, token, head, heads, rows)
