"""Linear layers: 16 rows of weights times one lane of activations or several, and the phases around them.

A token's sum runs over the columns in the same order in both widths, so a batch of one and a batch of many
give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar_numba.activations import (
    BLOCK_SIZE,
    LANE_NBYTES,
    LANES,
    Activations,
    FloatTiles,
    float_address,
    lane_address,
)
from realizar_numba.kernels.turns import TURNS_NBYTES, end_shares, first_share, next_share
from realizar_numba.memory import Matrix
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.floating import add
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import load_f32x16, load_first_f32, load_i64, store, store_first_f32
from realizar_numba.simd.sync import call_address
from realizar_numba.simd.targets import TARGETS
from realizar_numba.simd.types import f32x16, get, registers
from realizar_numba.weights.packed import PackedWeight
from realizar_numba.weights.packing import ROWS
from realizar_numba.weights.registry import FLOAT_LAYOUTS, LAYOUTS

WEIGHT = record("data", "rows", "columns", "group_nbytes", "bias")
"""A packed matrix and its bias (or 0)."""

PART = record(
    "weight", "kernel", "units", "groups_per_unit", "out", "out_stride", "accumulate",
    "epilogue", "epilogue_arguments", "second_epilogue", "second_arguments",
)  # fmt: skip
"""One matrix of a phase: rows in `units` of whole groups; epilogues run over the units a thread has just made."""

LINEAR = record("num_rows", "x", "x_stride", "tiles", "private_nbytes", "parts", "num_parts", "turns")
"""Several matrices over one input. private_nbytes: distance of the threads' own copies of a lone token, or 0."""

_PART_NBYTES = PART.itemsize
_read_weight, _read_part, _read_linear = reader(WEIGHT), reader(PART), reader(LINEAR)

_CHUNK_NBYTES = 384 * 1024
"""Activations that stay in L2 while the weights of a thread pass by."""


def _build_finish(tokens: int, lanes_per_row: int) -> Any:
    """What happens to a tile's sums: plus bias, plus what is there, stored; for the first `count` tokens."""

    @compiled
    def finish(sums, count, bias, accumulate, valid_rows, out, out_stride):
        for t in range(tokens):
            if t < count:
                value, address = get(sums, lanes_per_row * t), out + t * out_stride
                if lanes_per_row == 2:
                    value = add(value, get(sums, 2 * t + 1))
                if valid_rows >= 16:
                    if bias != 0:
                        value = add(value, load_f32x16(bias))
                    if accumulate:
                        value = add(load_f32x16(address), value)
                    store(address, value)
                else:
                    if bias != 0:
                        value = add(value, load_first_f32(bias, valid_rows))
                    if accumulate:
                        value = add(load_first_f32(address, valid_rows), value)
                    store_first_f32(address, value, valid_rows)

    return finish


def _build_sources(type_name: str, lanes_per_row: int) -> tuple[Any, Any]:
    """Where a narrow and a wide tile find their input: source(x, x_stride, tiles, token, columns)."""

    @compiled
    def lanes(x, x_stride, tiles, token, columns):
        return lane_address(tiles, token * lanes_per_row, columns // BLOCK_SIZE)

    @compiled
    def float_row(x, x_stride, tiles, token, columns):
        return x + token * x_stride

    @compiled
    def float_tile(x, x_stride, tiles, token, columns):
        return float_address(tiles, token, columns)

    return (float_row, float_tile) if type_name in FLOAT_LAYOUTS else (lanes, lanes)


def build_rows(isa: str, type_name: str, lanes_per_row: int) -> Callable[..., Any]:
    """The matrix kernel of a weight type: groups first_group..last_group times tokens first..last.

    lanes_per_row: 1 for float types. Adds to (or writes) out + token * out_stride + 4 * row.
    tiles: quantized activations or interleaved floats, from token 0. x: float rows, which one token at a time reads.
    """
    target = TARGETS[isa]
    lanes = target.wide_lanes
    tokens = lanes // lanes_per_row
    narrow_tile, wide_tile = (LAYOUTS[type_name].build_tile(count, target) for count in (lanes_per_row, lanes))
    narrow_source, wide_source = _build_sources(type_name, lanes_per_row)
    token_nbits = 32 if type_name in FLOAT_LAYOUTS else 8 * LANE_NBYTES * lanes_per_row // BLOCK_SIZE
    wide_from = max(2, tokens // 2)  # there a wide tile is cheaper than one token at a time
    narrow_sums, wide_sums = registers(f32x16, lanes_per_row), registers(f32x16, lanes)
    narrow_finish, wide_finish = _build_finish(1, lanes_per_row), _build_finish(tokens, lanes_per_row)

    @whole
    def rows(weight, first_group, last_group, first, last, x, x_stride, tiles, out, out_stride, accumulate):
        w = _read_weight(weight)
        chunk = max(1, 8 * _CHUNK_NBYTES // (w.columns * token_nbits * LANES + 1)) * LANES
        for start in range(first, last, chunk):
            stop = min(start + chunk, last)
            for g in range(first_group, last_group):
                weights, valid_rows = w.data + g * w.group_nbytes, w.rows - 16 * g
                bias = w.bias + 64 * g if w.bias != 0 else 0
                token = start
                while token + wide_from <= stop:
                    sums = wide_sums()
                    wide_tile(weights, wide_source(x, x_stride, tiles, token, w.columns), w.columns, sums)
                    address = out + token * out_stride + 64 * g
                    wide_finish(sums, stop - token, bias, accumulate, valid_rows, address, out_stride)
                    token += tokens
                while token < stop:
                    one = narrow_sums()
                    narrow_tile(weights, narrow_source(x, x_stride, tiles, token, w.columns), w.columns, one)
                    address = out + token * out_stride + 64 * g
                    narrow_finish(one, 1, bias, accumulate, valid_rows, address, out_stride)
                    token += 1

    return rows


@compiled
def _multiply_units(a, tiles, num_rows, first, last):
    """Units first..last of all parts, and the epilogues of each."""
    for i in range(a.num_parts):
        part = _read_part(a.parts + i * _PART_NBYTES)
        begin, end = max(first, 0), min(last, part.units)
        if begin < end and num_rows > 0:
            groups = (_read_weight(part.weight).rows + 15) // 16
            begin_group, end_group = begin * part.groups_per_unit, min(end * part.groups_per_unit, groups)
            call_address(
                part.kernel,
                (
                    part.weight,
                    begin_group,
                    end_group,
                    0,
                    num_rows,
                    a.x,
                    a.x_stride,
                    tiles,
                    part.out,
                    part.out_stride,
                    part.accumulate,
                ),
            )
            if part.epilogue != 0:
                call_address(part.epilogue, (part.epilogue_arguments, begin, end))
            if part.second_epilogue != 0:
                call_address(part.second_epilogue, (part.second_arguments, begin, end))
        first -= part.units
        last -= part.units


def build_linear() -> Callable[..., Any]:
    """The phase of LINEAR: the units of all parts, in order, cut into ranges, one or several for each thread."""

    @whole
    def linear(thread, num_threads, arguments):
        a = _read_linear(arguments)
        num_rows = load_i64(a.num_rows)
        tiles = a.tiles + thread * a.private_nbytes if num_rows == 1 else a.tiles
        total = 0
        for i in range(a.num_parts):
            total += _read_part(a.parts + i * _PART_NBYTES).units
        pieces, mine = first_share(a.turns, thread, num_threads, num_rows)
        while mine < pieces:
            _multiply_units(a, tiles, num_rows, total * mine // pieces, total * (mine + 1) // pieces)
            mine = next_share(a.turns, pieces, num_threads)
        end_shares(a.turns, pieces, num_threads)

    return linear


@attrs.frozen
class LinearInput:
    """What linear layers read: tiles of quantized activations; or of floats, and for a lone token its row."""

    num_rows: int
    row: int
    stride: int
    tiles: int
    private_nbytes: int

    def fields(self) -> dict[str, int]:
        """As the fields of a kernel's record."""
        return {
            "num_rows": self.num_rows,
            "x": self.row,
            "x_stride": self.stride,
            "tiles": self.tiles,
            "private_nbytes": self.private_nbytes,
        }


def quantized_input(x: Matrix, activations: Activations) -> LinearInput:
    """The quantized form of x."""
    private = activations.tile_nbytes if activations.private else 0
    return LinearInput(x.num_rows, 0, 0, activations.address, private)


def float_input(x: Matrix, tiles: FloatTiles) -> LinearInput:
    """x as it is, and interleaved."""
    return LinearInput(x.num_rows, x.address, x.stride, tiles.address, 0)


def weight_record(program: Program, weight: PackedWeight, bias: NDArray[np.float32] | None) -> int:
    """The address of a WEIGHT."""
    return program.record(
        WEIGHT,
        data=program.keep(weight.data),
        rows=weight.rows,
        columns=weight.columns,
        group_nbytes=weight.group_nbytes,
        bias=0 if bias is None else program.keep(bias),
    )


def rows_kernel(program: Program, weight: PackedWeight) -> int:
    """The address of the matrix kernel for a weight's type."""
    kernels, name, lanes = program.kernels, weight.type_name, weight.lanes_per_row
    label = f"linear ({name}, {kernels.isa}{', two lanes a row' * (lanes == 2)})"
    return kernels.address(label, build_rows, kernels.isa, name, lanes)


@attrs.frozen
class Linear:
    """One matrix of a phase. head_dim: the unit for epilogues, 0 = none (then units are groups of 16 rows)."""

    weight: PackedWeight
    bias: NDArray[np.float32] | None
    out: Matrix
    accumulate: bool = False
    head_dim: int = 0
    epilogues: tuple[tuple[int, int], ...] = ()


def append_linear(program: Program, x: LinearInput, linears: Sequence[Linear]) -> None:
    """Append several linear layers over one input as one phase."""
    parts = np.concatenate([_part(program, linear) for linear in linears])
    turns = program.scratch("turns of linear", TURNS_NBYTES)
    arguments = fill(LINEAR, **x.fields(), parts=program.keep(parts), num_parts=len(parts), turns=turns)
    program.append(program.kernels.address("linear", build_linear), arguments)


def _part(program: Program, linear: Linear) -> NDArray[Any]:
    groups_per_unit = linear.head_dim // ROWS or 1
    (first, first_arguments), (second, second_arguments) = (*linear.epilogues, (0, 0), (0, 0))[:2]
    return fill(
        PART,
        weight=weight_record(program, linear.weight, linear.bias),
        kernel=rows_kernel(program, linear.weight),
        units=-(-linear.weight.num_groups // groups_per_unit),
        groups_per_unit=groups_per_unit,
        out=linear.out.address,
        out_stride=linear.out.stride,
        accumulate=linear.accumulate,
        epilogue=first,
        epilogue_arguments=first_arguments,
        second_epilogue=second,
        second_arguments=second_arguments,
    )
