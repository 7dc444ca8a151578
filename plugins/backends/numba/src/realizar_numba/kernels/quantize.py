"""Quantizing float rows into activations, where no producer does it on the fly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realizar_numba.activations import (
    BLOCK_NBYTES,
    BLOCK_SIZE,
    Activations,
    destination,
    lane_address,
    quantize_block,
)
from realizar_numba.memory import Matrix
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.jit import whole
from realizar_numba.simd.memory import load_f32x16, load_i64

QUANTIZE = record("num_rows", "x", "x_stride", "width", "activations", "lanes_per_row")

_read_quantize = reader(QUANTIZE)


def build_quantize() -> Callable[..., Any]:
    """The phase of QUANTIZE: blocks of 32 columns cut into one range for each thread."""

    @whole
    def quantize(thread, num_threads, arguments):
        a = _read_quantize(arguments)
        blocks = a.width // BLOCK_SIZE
        for row in range(load_i64(a.num_rows)):
            x, lane = a.x + row * a.x_stride, lane_address(a.activations, row * a.lanes_per_row, blocks)
            for b in range(blocks * thread // num_threads, blocks * (thread + 1) // num_threads):
                p = x + 4 * BLOCK_SIZE * b
                quantize_block(load_f32x16(p), load_f32x16(p + 64), lane + b * BLOCK_NBYTES, a.lanes_per_row)

    return quantize


def append_quantize(program: Program, x: Matrix, activations: Activations) -> None:
    """Append the quantization of x."""
    arguments = fill(
        QUANTIZE,
        num_rows=x.num_rows,
        x=x.address,
        x_stride=x.stride,
        width=x.width,
        **destination(activations),
    )
    activations.private = False
    program.append(program.kernels.address("quantize", build_quantize), arguments)
