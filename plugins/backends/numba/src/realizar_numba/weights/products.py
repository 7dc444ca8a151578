"""The integer half of every quantized kernel: 32 columns of 16 rows times several tokens."""

from __future__ import annotations

from typing import Any

from realizar_numba.activations import LANE_NBYTES, MINUS_HALF_SUM, MINUS_SUM
from realizar_numba.simd.integer import add_i32, flip_signs, mul_i32, splat_i32, sub_i32
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import broadcast_4xi8, broadcast_i32, prefetch
from realizar_numba.simd.targets import Target
from realizar_numba.simd.types import get, put, registers
from realizar_numba.weights.codes import LINE, MAX_NARROW_CODE, Codes
from realizar_numba.weights.packing import PREFETCH


def build_multiply(codes: Codes, halves: int, lanes: int, target: Target) -> Any:
    """multiply(quants, x, products): for each lane the sums of (code - bias) * x over the columns of a block.

    products: int32 registers, `halves` for each lane: one sum of 32 columns, or (2) the sums of the first and the last
    16. A few tokens wait for memory, so kernels of up to two lanes prefetch.
    """
    load = _prefetching(codes.build_load(target), codes.nbytes) if lanes <= 2 else codes.build_load(target)
    if target.widen is None:
        return _build_wide(load, codes.bias, halves, lanes, target)
    if codes.max_code <= MAX_NARROW_CODE:
        return _build_narrow(load, codes, halves, lanes, target)
    return _build_signed(load, halves, lanes, target)


def _prefetching(load: Any, nbytes: int) -> Any:
    lines = nbytes // LINE

    @compiled
    def load_and_prefetch(quants, j):
        for line in range(j, lines, 4):
            prefetch(quants + LINE * line + PREFETCH)
        return load(quants, j)

    return load_and_prefetch


def _build_start(bias: int, halves: int, lanes: int) -> Any:
    """start(x, products): minus bias times the sums of the activations."""

    @compiled
    def start(x, products):
        for t in range(lanes):
            p = x + LANE_NBYTES * t
            minus_sum = broadcast_i32(p + MINUS_SUM)
            if halves == 2:
                minus_half = broadcast_i32(p + MINUS_HALF_SUM)
                put(products, 2 * t, mul_i32(minus_half, splat_i32(bias)))
                put(products, 2 * t + 1, mul_i32(sub_i32(minus_sum, minus_half), splat_i32(bias)))
            else:
                put(products, t, mul_i32(minus_sum, splat_i32(bias)))

    return start


def _build_add_chunks(dot: Any, halves: int, lanes: int) -> Any:
    """add_chunks(low, high, x, j, sums): the products of chunks j and j + 4, which are low and high, for each lane."""

    @compiled
    def add_chunks(low, high, x, j, sums):
        for t in range(lanes):
            p, first = x + LANE_NBYTES * t + 4 * j, halves * t
            put(sums, first, dot(get(sums, first), low, broadcast_4xi8(p)))
            last = first + halves - 1
            put(sums, last, dot(get(sums, last), high, broadcast_4xi8(p + 16)))

    return add_chunks


def _build_wide(load: Any, bias: int, halves: int, lanes: int, target: Target) -> Any:
    """Straight into int32."""
    add_chunks, start = _build_add_chunks(target.dot, halves, lanes), _build_start(bias, halves, lanes)

    @compiled
    def multiply(quants, x, products):
        start(x, products)
        for j in range(4):
            low, high = load(quants, j)
            add_chunks(low, high, x, j, products)

    return multiply


def _build_narrow(load: Any, codes: Codes, halves: int, lanes: int, target: Target) -> Any:
    """Into int16, widened before an overflow is possible."""
    add_chunks, start = _build_add_chunks(target.dot, halves, lanes), _build_start(codes.bias, halves, lanes)
    widen = target.widen
    new_partial = registers(target.accumulator, halves * lanes)
    span = max(1, min(4, target.max_dots(codes.max_code) * halves // 2))

    @compiled
    def multiply(quants, x, products):
        start(x, products)
        for begin in range(0, 4, span):
            partial = new_partial()
            for j in range(begin, min(begin + span, 4)):
                low, high = load(quants, j)
                add_chunks(low, high, x, j, partial)
            for i in range(halves * lanes):
                put(products, i, add_i32(get(products, i), widen(get(partial, i))))

    return multiply


def _build_signed(load: Any, halves: int, lanes: int, target: Target) -> Any:
    """Codes with SIGNED_BIAS, where two products may not fit in 16 bits: signed bytes, each product widened."""
    add_chunks = _build_add_chunks(target.signed_dot, halves, lanes)

    @compiled
    def multiply(quants, x, products):
        for i in range(halves * lanes):
            put(products, i, splat_i32(0))
        for j in range(4):
            low, high = load(quants, j)
            add_chunks(flip_signs(low), flip_signs(high), x, j, products)

    return multiply
