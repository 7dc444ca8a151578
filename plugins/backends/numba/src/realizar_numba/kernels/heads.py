"""Work on single heads: rotary positions, and phases of any such work.

Each is a function of a range of heads over all tokens: `f(arguments, first_head, last_head)`. It follows a linear
layer as an epilogue over the heads that a thread has just made, or runs as a phase of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from realizar_numba.memory import Matrix, aligned_matrix
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.floating import add, mul, sub
from realizar_numba.simd.jit import whole
from realizar_numba.simd.memory import (
    load_f64,
    load_first_f32,
    load_i32,
    load_i64,
    store_f32,
    store_first_f32,
)
from realizar_numba.simd.sync import call_address

ANGLES = record("num_rows", "positions", "inv_freq", "half", "cosines", "sines", floats=("scale",))
ROPE = record("num_rows", "x", "x_stride", "head_dim", "half", "cosines", "sines")
HEADS = record("function", "arguments", "num_heads")

_read_angles, _read_rope, _read_heads = reader(ANGLES), reader(ROPE), reader(HEADS)


def build_angles() -> Callable[..., Any]:
    """The phase of ANGLES: cosines and sines of position * inv_freq, times scale, computed in float64."""

    @whole
    def angles(thread, num_threads, arguments):
        a = _read_angles(arguments)
        scale = np.float64(a.scale)
        for t in range(thread, load_i64(a.num_rows), num_threads):
            position = np.float64(load_i32(a.positions + 4 * t))
            for i in range(a.half):
                angle = position * load_f64(a.inv_freq + 8 * i)
                at = 4 * (t * a.half + i)
                store_f32(a.cosines + at, np.float32(np.cos(angle) * scale))
                store_f32(a.sines + at, np.float32(np.sin(angle) * scale))

    return angles


def build_rope() -> Callable[..., Any]:
    """Rotate the first 2 * half columns of heads first..last, halves paired (i, i + half)."""

    @whole
    def rope(arguments, first_head, last_head):
        a = _read_rope(arguments)
        for t in range(load_i64(a.num_rows)):
            for head in range(first_head, last_head):
                x = a.x + t * a.x_stride + 4 * a.head_dim * head
                for i in range(0, a.half, 16):
                    count, at = a.half - i, 4 * (t * a.half + i)
                    c, s = load_first_f32(a.cosines + at, count), load_first_f32(a.sines + at, count)
                    low, high = load_first_f32(x + 4 * i, count), load_first_f32(x + 4 * (a.half + i), count)
                    store_first_f32(x + 4 * i, sub(mul(low, c), mul(high, s)), count)
                    store_first_f32(x + 4 * (a.half + i), add(mul(high, c), mul(low, s)), count)

    return rope


def build_over_heads() -> Callable[..., Any]:
    """The phase of HEADS: all heads, cut into one range for each thread."""

    @whole
    def over_heads(thread, num_threads, arguments):
        a = _read_heads(arguments)
        first, last = a.num_heads * thread // num_threads, a.num_heads * (thread + 1) // num_threads
        if first < last:
            call_address(a.function, (a.arguments, first, last))

    return over_heads


class RopeTable:
    """Cosines and sines of the tokens of a step, shared by all layers that rotate alike."""

    def __init__(self, max_rows: int, inv_freq: tuple[float, ...], scale: float) -> None:
        self.inv_freq, self.scale = np.array(inv_freq, np.float64), scale
        self.half = len(inv_freq)
        self.cosines, self.sines = (aligned_matrix(max_rows, self.half) for _ in range(2))

    def append(self, program: Program, positions: int, num_rows: int) -> None:
        """Append the phase that fills it; positions is the address of int32."""
        arguments = fill(
            ANGLES,
            num_rows=num_rows,
            positions=positions,
            inv_freq=program.keep(self.inv_freq),
            half=self.half,
            cosines=program.keep(self.cosines),
            sines=program.keep(self.sines),
            scale=self.scale,
        )
        program.append(program.kernels.address("rotary angles", build_angles), arguments)


HeadFunction = tuple[int, int]
"""Addresses of a function of heads and of its arguments."""


def rope_function(program: Program, x: Matrix, head_dim: int, table: RopeTable) -> HeadFunction:
    """Rotation of x in place."""
    arguments = program.record(
        ROPE,
        num_rows=x.num_rows,
        x=x.address,
        x_stride=x.stride,
        head_dim=head_dim,
        half=table.half,
        cosines=program.keep(table.cosines),
        sines=program.keep(table.sines),
    )
    return program.kernels.address("rope", build_rope), arguments


def append_over_heads(program: Program, function: HeadFunction, num_heads: int) -> None:
    """Append a function of heads as a phase of its own."""
    arguments = fill(HEADS, function=function[0], arguments=function[1], num_heads=num_heads)
    program.append(program.kernels.address("heads", build_over_heads), arguments)
