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
        """See `realizar_numba.weights`; the same on every target."""
        new_sums, load_rows, column_nbytes = registers(f32x16, lanes), self._load_rows, 16 * self.nbytes
        step = 4 if lanes == 1 else 4 * LANES

        @compiled
        def tile(weights, x, columns, sums):
            odd = new_sums()
            for _ in range(columns // 2):
                w0, w1 = load_rows(weights), load_rows(weights + column_nbytes)
                if lanes == 1:
                    prefetch(weights + PREFETCH)
                for t in range(lanes):
                    p = x + 4 * t
                    put(sums, t, fma(w0, broadcast_f32(p), get(sums, t)))
                    put(odd, t, fma(w1, broadcast_f32(p + step), get(odd, t)))
                weights += 2 * column_nbytes
                x += 2 * step
            if columns % 2:
                for t in range(lanes):
                    put(sums, t, fma(load_rows(weights), broadcast_f32(x + 4 * t), get(sums, t)))
            for t in range(lanes):
                put(sums, t, add(get(sums, t), get(odd, t)))

        return tile


F32 = FloatLayout(4, load_f32x16, load_f32)
F16 = FloatLayout(2, _load_f16, load_f16)
BF16 = FloatLayout(2, _load_bf16, load_bf16)
