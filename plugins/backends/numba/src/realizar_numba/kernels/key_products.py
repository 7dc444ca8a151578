"""Dot products of queries and cached keys: a kernel for each cache type and number of rows.

Each is summed in order of dimension by fused multiply-adds: over the whole head, or, where keys have scales, over
each block of 32, the blocks' sums times their scales then being added in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realizar_numba.kernels.tile_memory import QUERY_NBYTES, SCORES_NBYTES
from realizar_numba.kvcache import CHUNK, KV_TYPES, SCALES_NBYTES
from realizar_numba.simd.floating import fma, from_bf16, from_f16, to_f32, zero_f32
from realizar_numba.simd.integer import widen_i8
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import (
    broadcast_f32,
    load_f16x16,
    load_f32x16,
    load_i8x16,
    load_i16x16,
    load_i64,
    prefetch,
    store,
)
from realizar_numba.simd.types import f32x16, get, put, registers

_LINE = 64


@compiled
def load_f16(address):
    """16 float16 as float32."""
    return from_f16(load_f16x16(address))


@compiled
def load_bf16(address):
    """16 bfloat16 as float32."""
    return from_bf16(load_i16x16(address))


@compiled
def load_i8(address):
    """16 signed bytes as float32."""
    return to_f32(widen_i8(load_i8x16(address)))


@compiled
def prefetch_chunk(address, nbytes):
    """Bring a chunk of the cache near."""
    for at in range(0, nbytes, _LINE):
        prefetch(address + at)


LOADS = {"F32": load_f32x16, "F16": load_f16, "BF16": load_bf16, "Q8_0": load_i8}
"""Cache type -> 16 numbers from memory as float32, before scales."""


def _build_sums(rows: int, chunks: int, dtype: str) -> Any:
    """sums(q, keys, chunk_nbytes, ids, first, last, sums): adds the products of dimensions first..last."""
    load, dimension_nbytes = LOADS[dtype], CHUNK * KV_TYPES[dtype].element_nbytes
    new_keys = registers(f32x16, chunks)

    @compiled
    def add_products(q, keys, chunk_nbytes, ids, first, last, sums):
        loaded = new_keys()
        for d in range(first, last):
            for i in range(chunks):
                put(loaded, i, load(keys + load_i64(ids + 8 * i) * chunk_nbytes + dimension_nbytes * d))
            for r in range(rows):
                query = broadcast_f32(q + QUERY_NBYTES * r + 4 * d)
                for i in range(chunks):
                    put(sums, chunks * r + i, fma(query, get(loaded, i), get(sums, chunks * r + i)))

    return add_products


def _build_products(rows: int, chunks: int, dtype: str) -> Any:
    """products(q, keys, chunk_nbytes, head_dim, scales, ids, scores) of `rows` queries, `chunks` chunks."""
    add_products, block_size = _build_sums(rows, chunks, dtype), KV_TYPES[dtype].block_size
    new_sums = registers(f32x16, rows * chunks)

    @compiled
    def plain(q, keys, chunk_nbytes, head_dim, scales, ids, scores):
        sums = new_sums()
        add_products(q, keys, chunk_nbytes, ids, 0, head_dim, sums)
        for r in range(rows):
            for i in range(chunks):
                store(scores + SCORES_NBYTES * i + 4 * CHUNK * r, get(sums, chunks * r + i))

    @compiled
    def scaled(q, keys, chunk_nbytes, head_dim, scales, ids, scores):
        for first in range(0, head_dim, block_size):
            sums = new_sums()
            add_products(q, keys, chunk_nbytes, ids, first, min(first + block_size, head_dim), sums)
            for i in range(chunks):
                chunk = keys + load_i64(ids + 8 * i) * chunk_nbytes
                scale = load_f16(chunk + scales + SCALES_NBYTES * (first // block_size))
                for r in range(rows):
                    score = scores + SCORES_NBYTES * i + 4 * CHUNK * r
                    before = zero_f32() if first == 0 else load_f32x16(score)
                    store(score, fma(scale, get(sums, chunks * r + i), before))

    return scaled if block_size else plain


def build_key_products(rows: int, chunks: int, dtype: str, prefetches: bool) -> Callable[..., Any]:
    """Products of `rows` queries with the keys of a head in `count` chunks, `chunks` of them at once.

    prefetches: whether it brings the following chunks near, for keys that nobody has read before.
    """
    many = _build_products(rows, chunks, dtype)
    one = _build_products(rows, 1, dtype)

    @whole
    def key_products(q, keys, chunk_nbytes, head_dim, scales, ids, count, scores):
        c = 0
        while c + chunks <= count:
            if prefetches:
                for i in range(c + chunks, min(c + 2 * chunks, count)):
                    prefetch_chunk(keys + load_i64(ids + 8 * i) * chunk_nbytes, chunk_nbytes)
            many(q, keys, chunk_nbytes, head_dim, scales, ids + 8 * c, scores + SCORES_NBYTES * c)
            c += chunks
        while c < count:
            one(q, keys, chunk_nbytes, head_dim, scales, ids + 8 * c, scores + SCORES_NBYTES * c)
            c += 1

    return key_products
