"""The first half of a gated feed-forward: activation(gate x) * (up x), while both are in the cache."""

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
from realizar_numba.kernels.elementwise import ACTIVATION_FUNCTIONS
from realizar_numba.kernels.linear import LinearInput, rows_kernel, weight_record
from realizar_numba.kernels.turns import TURNS_NBYTES, end_shares, first_share, next_share
from realizar_numba.memory import Matrix
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.floating import mul
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import load_f32x16, load_i64, store_first_f32
from realizar_numba.simd.sync import call_address
from realizar_numba.weights.packed import PackedWeight

GATED = record(
    "num_rows", "x", "x_stride", "tiles", "private_nbytes", "gate", "gate_kernel", "up", "up_kernel", "columns",
    "out", "out_stride", "activations", "lanes_per_row", "scratch", "turns",
)  # fmt: skip

_read = reader(GATED)

_PIECE = 4096
"""Gate values (and as many up values) that a thread makes before it combines them: 32 KiB of floats in all."""

_TOKENS = 128
"""Tokens of a piece of one block of columns."""


def build_gated(kind: str) -> Callable[..., Any]:
    """The phase of GATED: blocks of 32 columns of the result, cut into ranges, one or several for each thread."""
    activation = ACTIVATION_FUNCTIONS[kind]

    @compiled
    def combine(a, gate, up, stride, blocks, first, count, start, stop):
        for t in range(start, stop):
            lane = lane_address(a.activations, t * a.lanes_per_row, blocks)
            for b in range(count):
                at = (t - start) * stride + 4 * BLOCK_SIZE * b
                low = mul(activation(load_f32x16(gate + at)), load_f32x16(up + at))
                high = mul(activation(load_f32x16(gate + at + 64)), load_f32x16(up + at + 64))
                if a.activations != 0:
                    quantize_block(low, high, lane + (first + b) * BLOCK_NBYTES, a.lanes_per_row)
                if a.out != 0:
                    c = BLOCK_SIZE * (first + b)
                    out = a.out + t * a.out_stride + 4 * c
                    store_first_f32(out, low, a.columns - c)
                    store_first_f32(out + 64, high, a.columns - c - 16)

    @whole
    def gated(thread, num_threads, arguments):
        a = _read(arguments)
        num_rows, blocks = load_i64(a.num_rows), (a.columns + BLOCK_SIZE - 1) // BLOCK_SIZE
        tiles = a.tiles + thread * a.private_nbytes if num_rows == 1 else a.tiles
        gate = a.scratch + 8 * _PIECE * thread
        up = gate + 4 * _PIECE
        tokens = min(num_rows, _TOKENS)
        blocks_at_once = _PIECE // (BLOCK_SIZE * max(tokens, 1))
        stride = 4 * BLOCK_SIZE * blocks_at_once
        pieces, mine = first_share(a.turns, thread, num_threads, num_rows)
        while mine < pieces:
            last = blocks * (mine + 1) // pieces
            for first in range(blocks * mine // pieces, last, blocks_at_once):
                count = min(blocks_at_once, last - first)
                groups = min(2 * (first + count), (a.columns + 15) // 16)
                for start in range(0, num_rows, tokens):
                    stop = min(start + tokens, num_rows)
                    shift = start * stride + 4 * BLOCK_SIZE * first
                    which = (2 * first, groups, start, stop, a.x, a.x_stride, tiles)
                    call_address(a.gate_kernel, (a.gate, *which, gate - shift, stride, 0))
                    call_address(a.up_kernel, (a.up, *which, up - shift, stride, 0))
                    combine(a, gate, up, stride, blocks, first, count, start, stop)
            mine = next_share(a.turns, pieces, num_threads)
        end_shares(a.turns, pieces, num_threads)

    return gated


def append_gated(
    program: Program,
    kind: str,
    x: LinearInput,
    gate: PackedWeight,
    up: PackedWeight,
    out: Matrix | None,
    activations: Activations | None,
) -> None:
    """Append activation(x @ gate.T) * (x @ up.T), as float rows, as quantized activations, or both."""
    arguments = fill(
        GATED,
        **x.fields(),
        gate=weight_record(program, gate, None),
        gate_kernel=rows_kernel(program, gate),
        up=weight_record(program, up, None),
        up_kernel=rows_kernel(program, up),
        columns=gate.rows,
        out=out.address if out else 0,
        out_stride=out.stride if out else 0,
        **destination(activations),
        scratch=program.scratch("gated", 8 * _PIECE),
        turns=program.scratch("turns of gated", TURNS_NBYTES),
    )
    if activations:
        activations.private = False
    program.append(program.kernels.address(f"gated {kind}", build_gated, kind), arguments)
