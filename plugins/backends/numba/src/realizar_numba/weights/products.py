"""The integer half of every quantized kernel: 32 columns of 16 rows times several tokens."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from realizar_numba.activations import LANE_NBYTES, MINUS_HALF_SUM, MINUS_SUM
from realizar_numba.simd.integer import add_i32, flip_signs, mul_i32, splat_i32, sub_i32
from realizar_numba.simd.jit import compiled, in_order, unrolled
from realizar_numba.simd.memory import broadcast_4xi8, broadcast_i32, prefetch
from realizar_numba.simd.targets import Target
from realizar_numba.simd.types import get, put, registers
from realizar_numba.weights.codes import CHUNKS, LINE, MAX_NARROW_CODE, Codes
from realizar_numba.weights.packing import PREFETCH

_PAIRED = tuple(itertools.chain.from_iterable((j, j + 4) for j in range(4)))
"""The chunks of a block, neighbours in one line of nibbles side by side."""


def build_multiply(codes: Codes, halves: int, lanes: int, target: Target) -> Any:
    """multiply(quants, x, products): for each lane the sums of (code - bias) * x over the columns of a block.

    products: int32 registers, `halves` for each lane: one sum of 32 columns, or (2) the sums of the first and the last
    16. A few tokens wait for memory, so kernels of up to two lanes prefetch.
    """
    load = _build_load(codes, target)
    if lanes <= 2:
        load = _prefetching(load, codes.nbytes)
    if target.widen is None:
        start = _build_start(codes.bias, halves, lanes)
        add_chunk = _build_add_chunk(load, _held(target.dot, lanes, target), halves, lanes)
        return _build_both(start, unrolled(add_chunk, _PAIRED))
    if codes.max_code <= MAX_NARROW_CODE:
        return _build_narrow(load, codes, halves, lanes, target)
    return _build_signed(load, halves, lanes, target)


@functools.cache
def _build_load(codes: Codes, target: Target) -> Any:
    """One for all tiles of a type: compiled once."""
    return codes.build_load(target)


def _prefetching(load: Any, nbytes: int) -> Any:
    """Every line of a later block is fetched once, along with the first four chunks of this one."""
    lines = nbytes // LINE

    @compiled
    def load_and_prefetch(quants, c):
        if c < 4:
            for line in range(c, lines, 4):
                prefetch(quants + LINE * line + PREFETCH)
        return load(quants, c)

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


def _build_add_chunk(load: Any, dot: Any, halves: int, lanes: int) -> Any:
    """add_chunk(quants, x, sums, c): the products of chunk c, for each lane to that of its `halves` sums."""

    @compiled
    def add_chunk(quants, x, sums, c):
        codes, half = load(quants, c), c // 4 if halves == 2 else 0
        for t in range(lanes):
            s = halves * t + half
            put(sums, s, dot(get(sums, s), codes, broadcast_4xi8(x + LANE_NBYTES * t + 4 * c)))

    return add_chunk


def _build_both(start: Any, add_chunks: Any) -> Any:
    @compiled
    def multiply(quants, x, products):
        start(x, products)
        add_chunks(quants, x, products)

    return multiply


def _build_narrow(load: Any, codes: Codes, halves: int, lanes: int, target: Target) -> Any:
    """Into int16 by runs of chunks, widened before an overflow is possible; each run belongs to one sum of a lane."""
    start, widen = _build_start(codes.bias, halves, lanes), target.widen
    add_chunk, new_partial = (
        _build_add_chunk(load, _held(target.dot, lanes, target), 1, lanes), registers(target.accumulator, lanes)
    )  # fmt: skip
    order = _PAIRED if halves == 1 else tuple(range(CHUNKS))
    length = min(target.max_dots(codes.max_code), CHUNKS // halves)

    @compiled
    def add_to(products, partial, half):
        for t in range(lanes):
            s = halves * t + half
            put(products, s, add_i32(get(products, s), widen(get(partial, t))))

    def build_run(first: int) -> Any:
        add_chunks, half = unrolled(add_chunk, order[first : first + length]), first * halves // CHUNKS

        @compiled
        def add_run(quants, x, products):
            partial = new_partial()
            add_chunks(quants, x, partial)
            add_to(products, partial, half)

        return add_run

    return _build_both(start, in_order([build_run(first) for first in range(0, CHUNKS, length)]))


def _build_signed(load: Any, halves: int, lanes: int, target: Target) -> Any:
    """Codes with SIGNED_BIAS, where two products may not fit in 16 bits: signed bytes, each product widened."""

    @compiled
    def load_signed(quants, c):
        return flip_signs(load(quants, c))

    @compiled
    def start(x, products):
        for i in range(halves * lanes):
            put(products, i, splat_i32(0))

    dot = _held(target.signed_dot, lanes, target)
    return _build_both(start, unrolled(_build_add_chunk(load_signed, dot, halves, lanes), _PAIRED))


def _held(dot: Any, lanes: int, target: Target) -> Any:
    """The dot product, held in its place where a tile leaves no registers to spare."""
    hold = target.hold
    if hold is None or lanes == 1:
        return dot

    @compiled
    def held_dot(a, u, s):
        return hold(dot(a, u, s))

    return held_dot
