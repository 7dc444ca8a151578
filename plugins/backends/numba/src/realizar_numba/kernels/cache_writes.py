"""Writing keys and values of heads to the cache: functions of a range of heads over all tokens, as in `heads`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from realizar_numba.kernels.heads import HeadFunction
from realizar_numba.kvcache import CHUNK, KV_TYPES, SCALES_NBYTES, LayerCache
from realizar_numba.memory import Matrix
from realizar_numba.program import Program
from realizar_numba.records import reader, record
from realizar_numba.simd.floating import absolute, max_f32, maximum, mul, round_even, splat_f32, to_bf16, to_f16, to_i32
from realizar_numba.simd.integer import narrow_i8
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import load_f16, load_first_f32, load_i32, load_i64, store, store_apart, store_f16

WRITE = record(
    "num_rows", "x", "x_stride", "head_dim", "padded_dim", "slots", "data", "chunk_nbytes", "head_nbytes", "scales"
)
_read_write = reader(WRITE)

_VECTOR = 16
_LARGEST_F16 = np.float32(65504)


@compiled
def _unchanged(v):
    return v


_ROUND = {"F32": _unchanged, "F16": to_f16, "BF16": to_bf16}


def _build_put(kind: str) -> Any:
    """put(chunk, position, d, element, padded_dim, numbers): write 16 dimensions from d on; element: bytes of one."""

    @compiled
    def put_key(chunk, position, d, element, padded_dim, numbers):
        store_apart(chunk + element * (CHUNK * d + position), numbers, CHUNK * element)

    @compiled
    def put_value(chunk, position, d, element, padded_dim, numbers):
        store(chunk + element * (padded_dim * position + d), numbers)

    return put_key if kind == "key" else put_value


def _build_plain(kind: str, dtype: str) -> Any:
    put, to_type, element = _build_put(kind), _ROUND[dtype], KV_TYPES[dtype].element_nbytes

    @compiled
    def write(a, x, chunk, position):
        for d in range(0, a.head_dim, _VECTOR):
            numbers = to_type(load_first_f32(x + 4 * d, a.head_dim - d))
            put(chunk, position, d, element, a.padded_dim, numbers)

    return write


def _build_scaled(kind: str) -> Any:
    """Q8_0: the scale is rounded to float16 first, so that numbers are the nearest to what will be read."""
    put, block_size = _build_put(kind), KV_TYPES["Q8_0"].block_size

    @compiled
    def write(a, x, chunk, position):
        for d in range(0, a.head_dim, block_size):
            p, count = x + 4 * d, a.head_dim - d
            low, high = load_first_f32(p, count), load_first_f32(p + 4 * _VECTOR, count - _VECTOR)
            largest = max_f32(maximum(absolute(low), absolute(high)))
            scale = chunk + a.scales + SCALES_NBYTES * (d // block_size) + 2 * position
            store_f16(scale, min(largest / np.float32(127), _LARGEST_F16))
            rounded = load_f16(scale)
            inverse = splat_f32(np.float32(1) / rounded if rounded > np.float32(0) else np.float32(0))
            put(chunk, position, d, 1, a.padded_dim, narrow_i8(to_i32(round_even(mul(low, inverse)))))
            put(chunk, position, d + _VECTOR, 1, a.padded_dim, narrow_i8(to_i32(round_even(mul(high, inverse)))))

    return write


def build_cache_write(kind: str, dtype: str) -> Callable[..., Any]:
    """Write heads first..last; kind: "key" (columns of 16 positions) or "value" (rows)."""
    write = _build_scaled(kind) if KV_TYPES[dtype].block_size else _build_plain(kind, dtype)

    @whole
    def cache_write(arguments, first_head, last_head):
        a = _read_write(arguments)
        for t in range(load_i64(a.num_rows)):
            slot = np.int64(load_i32(a.slots + 4 * t))
            chunk = a.data + slot // CHUNK * a.chunk_nbytes
            for head in range(first_head, last_head):
                write(a, a.x + t * a.x_stride + 4 * a.head_dim * head, chunk + head * a.head_nbytes, slot % CHUNK)

    return cache_write


def write_function(program: Program, kind: str, x: Matrix, slots: int, cache: LayerCache) -> HeadFunction:
    """Writing x (kind "key" or "value") to the cache at the int32 slots."""
    layout = cache.layout()
    program.keep(cache.keys), program.keep(cache.values)
    arguments = program.record(
        WRITE,
        num_rows=x.num_rows,
        x=x.address,
        x_stride=x.stride,
        slots=slots,
        data=layout[f"{kind}s"],
        **{name: layout[name] for name in ("head_dim", "padded_dim", "chunk_nbytes", "head_nbytes", "scales")},
    )
    label = f"cache write ({kind}s, {cache.dtype})"
    return program.kernels.address(label, build_cache_write, kind, cache.dtype), arguments
