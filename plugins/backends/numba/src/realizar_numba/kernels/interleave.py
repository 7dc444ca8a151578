"""Float rows, eight tokens side by side: what matrices of floats read when there are several tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realizar_numba.activations import LANES, FloatTiles, float_address
from realizar_numba.memory import Matrix
from realizar_numba.pool import IF_SHARED
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.jit import whole
from realizar_numba.simd.memory import load_f32, load_i64, store_f32

INTERLEAVE = record("num_rows", "x", "x_stride", "width", "tiles")

_read = reader(INTERLEAVE)


def build_interleave() -> Callable[..., Any]:
    """The phase of INTERLEAVE: tokens dealt out to the threads, tile by tile; a lone token stays a row."""

    @whole
    def interleave(thread, num_threads, arguments):
        a = _read(arguments)
        num_rows = load_i64(a.num_rows)
        if num_rows == 1:
            return
        for first in range(LANES * thread, num_rows, LANES * num_threads):
            for token in range(first, min(first + LANES, num_rows)):
                x, lane = a.x + token * a.x_stride, float_address(a.tiles, token, a.width)
                for c in range(a.width):
                    store_f32(lane + 4 * LANES * c, load_f32(x + 4 * c))

    return interleave


def append_interleave(program: Program, x: Matrix, tiles: FloatTiles) -> None:
    """Append the interleaving of x."""
    arguments = fill(
        INTERLEAVE, num_rows=x.num_rows, x=x.address, x_stride=x.stride, width=x.width, tiles=tiles.address
    )
    program.append(program.kernels.address("interleave", build_interleave), arguments, IF_SHARED)
