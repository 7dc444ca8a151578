"""Sums of cached values times weights, over positions in order: a kernel for each cache type and number of rows.

Where values have scales, the weights of a chunk are multiplied by them first, once for each block of 32 dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from realizar_numba.kernels.key_products import LOADS, load_f16, prefetch_chunk
from realizar_numba.kernels.tile_memory import SCORES_NBYTES
from realizar_numba.kvcache import CHUNK, KV_TYPES, SCALES_NBYTES
from realizar_numba.simd.floating import fma, mul
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import broadcast_f32, load_f32x16, load_i64, store
from realizar_numba.simd.types import f32x16, get, put, registers

VECTOR = 16
_ROW_NBYTES = 4 * CHUNK

_AHEAD = 4
"""Chunks between the one in use and the one that is fetched."""


def _build_add(rows: int, vectors: int, dtype: str) -> Any:
    """add(values, stride, weights, block_nbytes, count, sums): adds `count` positions of `vectors` x 16 dimensions.

    Weights lie as [block][row][16 positions].
    """
    load, kind = LOADS[dtype], KV_TYPES[dtype]
    element, vectors_per_block = kind.element_nbytes, kind.block_size // VECTOR or vectors
    new_values = registers(f32x16, vectors)

    @compiled
    def add_values(values, stride, weights, block_nbytes, count, sums):
        loaded = new_values()
        for p in range(count):
            for v in range(vectors):
                put(loaded, v, load(values + stride * p + VECTOR * element * v))
            for r in range(rows):
                for v in range(vectors):
                    weight = broadcast_f32(weights + block_nbytes * (v // vectors_per_block) + _ROW_NBYTES * r + 4 * p)
                    put(sums, vectors * r + v, fma(weight, get(loaded, v), get(sums, vectors * r + v)))

    return add_values


def _build_sums(rows: int, vectors: int, dtype: str, prefetches: bool) -> Any:
    """Sums of `vectors` x 16 dimensions from `column` on, with the arguments of `build_value_sums`."""
    add_values, kind = _build_add(rows, vectors, dtype), KV_TYPES[dtype]
    element, block_size = kind.element_nbytes, kind.block_size
    blocks = -(-vectors * VECTOR // block_size) if block_size else 0
    new_sums = registers(f32x16, rows * vectors)

    @compiled
    def scale_weights(weights, scales, scaled):
        for b in range(blocks):
            scale = load_f16(scales + SCALES_NBYTES * b)
            for r in range(rows):
                store(scaled + _ROW_NBYTES * (rows * b + r), mul(scale, load_f32x16(weights + _ROW_NBYTES * r)))

    @compiled
    def sum_values(weights, values, chunk_nbytes, stride, scales, scaled, ids, num_positions, column, out, out_stride):
        sums = new_sums()
        num_chunks = (num_positions + CHUNK - 1) // CHUNK
        for c in range(num_chunks):
            if prefetches and column == 0 and c + _AHEAD < num_chunks:
                prefetch_chunk(values + load_i64(ids + 8 * (c + _AHEAD)) * chunk_nbytes, chunk_nbytes)
            chunk, used = values + load_i64(ids + 8 * c) * chunk_nbytes, weights + SCORES_NBYTES * c
            if block_size:
                scale_weights(used, chunk + scales + SCALES_NBYTES * (column // block_size), scaled)
                used = scaled
            count = min(CHUNK, num_positions - CHUNK * c)
            add_values(chunk + element * column, stride, used, _ROW_NBYTES * rows, count, sums)
        for r in range(rows):
            for v in range(vectors):
                store(out + out_stride * r + 4 * (column + VECTOR * v), get(sums, vectors * r + v))

    return sum_values


def build_value_sums(rows: int, vectors: int, dtype: str, prefetches: bool) -> Callable[..., Any]:
    """Sums of `rows` rows over the first `num_positions` positions of a head, `vectors` x 16 dimensions at once.

    weights: [chunk][row][16 positions]. scaled: room for the weights of a chunk times scales. prefetches: whether it
    brings later chunks near, for values that nobody has read before.
    """
    many = _build_sums(rows, vectors, dtype, prefetches)
    one = _build_sums(rows, 1, dtype, False)
    element = KV_TYPES[dtype].element_nbytes

    @whole
    def value_sums(weights, values, chunk_nbytes, padded_dim, scales, scaled, ids, num_positions, out, out_stride):
        stride, column = element * padded_dim, np.int64(0)  # a literal would compile all twice
        while column + VECTOR * vectors <= padded_dim:
            many(weights, values, chunk_nbytes, stride, scales, scaled, ids, num_positions, column, out, out_stride)
            column += VECTOR * vectors
        while column < padded_dim:
            one(weights, values, chunk_nbytes, stride, scales, scaled, ids, num_positions, column, out, out_stride)
            column += VECTOR

    return value_sums
