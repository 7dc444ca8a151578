"""F32, F16 and BF16 weights against float32 activations: any number of columns.

One token is a row of floats; several are interleaved (`activations.FloatTiles`).
Group: per column the 16 rows side by side. Each token has two accumulators, of even and of odd columns.
"""

from __future__ import annotations

from typing import Any

from realizar_numba.activations import LANES
from realizar_numba.simd.floating import add, bits_to_f32, fma, from_f16
from realizar_numba.simd.integer import shift_left, widen_u16
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import (
    broadcast_f32,
    load_bf16,
    load_f16,
    load_f16x16,
    load_f32,
    load_f32x16,
    load_i16,
    load_i16x16,
    load_i32,
    prefetch,
    store_i16,
    store_i32,
)
from realizar_numba.simd.targets import Target
from realizar_numba.simd.types import f32x16, get, put, registers
from realizar_numba.weights.packing import PREFETCH

_PIECE = 32
"""Pairs of columns; their weights and activations stay in the L1 cache between the two turns."""

_high_half = shift_left(16)


@compiled
def _load_bf16(address):
    return bits_to_f32(_high_half(widen_u16(load_i16x16(address))))


@compiled
def _load_f16(address):
    return from_f16(load_f16x16(address))


class FloatLayout:
    """The layout of one float type, with the functions named in `realizar_numba.weights`."""

    def __init__(self, nbytes: int, load_rows: Any, load_value: Any) -> None:
        self.nbytes, self._load_rows = nbytes, load_rows
        load, save = (load_i32, store_i32) if nbytes == 4 else (load_i16, store_i16)

        @compiled
        def pack_group(source, row_nbytes, rows, columns, destination):
            for c in range(columns):
                for r in range(rows):
                    save(destination + nbytes * (16 * c + r), load(source + r * row_nbytes + nbytes * c))

        @compiled
        def value(group, row, column):
            return load_value(group + nbytes * (16 * column + row))

        self._pack_group, self._value = pack_group, value

    def build_pack_group(self) -> Any:
        """See `realizar_numba.weights`."""
        return self._pack_group

    def build_value(self) -> Any:
        """See `realizar_numba.weights`."""
        return self._value

    def group_nbytes(self, columns: int) -> int:
        """Bytes of 16 rows."""
        return 16 * self.nbytes * columns

    def build_tile(self, lanes: int, target: Target) -> Any:
        """See `realizar_numba.weights`."""
        new_sums, column_nbytes, step = registers(f32x16, lanes), 16 * self.nbytes, 4 if lanes == 1 else 4 * LANES
        add_column = self._build_add_column(lanes)
        together = target.vectors >= 4 * lanes  # both sums of each token, weights and activations are in registers
        add_pairs = (_build_together if together else _build_in_turns)(add_column, column_nbytes, step, lanes == 1)

        @compiled
        def tile(weights, x, columns, sums):
            odd = new_sums()
            add_pairs(weights, x, columns // 2, sums, odd)
            if columns % 2:
                add_column(weights + column_nbytes * (columns - 1), x + step * (columns - 1), sums)
            for t in range(lanes):
                put(sums, t, add(get(sums, t), get(odd, t)))

        return tile

    def _build_add_column(self, lanes: int) -> Any:
        load_rows = self._load_rows

        @compiled
        def add_column(weights, x, sums):
            w = load_rows(weights)
            for t in range(lanes):
                put(sums, t, fma(w, broadcast_f32(x + 4 * t), get(sums, t)))

        return add_column


def _build_together(add_column: Any, column_nbytes: int, step: int, prefetches: bool) -> Any:
    """add_pairs(weights, x, pairs, even, odd): pairs of columns one after another."""

    @compiled
    def add_pairs(weights, x, pairs, even, odd):
        for _ in range(pairs):
            if prefetches:
                prefetch(weights + PREFETCH)
            add_column(weights, x, even)
            add_column(weights + column_nbytes, x + step, odd)
            weights += 2 * column_nbytes
            x += 2 * step

    return add_pairs


def _build_in_turns(add_column: Any, column_nbytes: int, step: int, prefetches: bool) -> Any:
    """The same sums: the even columns of a piece, then its odd ones, so that half the sums rest in memory."""

    @compiled
    def add_every_other(weights, x, count, sums):
        for _ in range(count):
            add_column(weights, x, sums)
            weights += 2 * column_nbytes
            x += 2 * step

    @compiled
    def add_pairs(weights, x, pairs, even, odd):
        for first in range(0, pairs, _PIECE):
            count = min(_PIECE, pairs - first)
            add_every_other(weights, x, count, even)
            add_every_other(weights + column_nbytes, x + step, count, odd)
            weights += 2 * column_nbytes * count
            x += 2 * step * count

    return add_pairs


F32 = FloatLayout(4, load_f32x16, load_f32)
F16 = FloatLayout(2, _load_f16, load_f16)
BF16 = FloatLayout(2, _load_bf16, load_bf16)
