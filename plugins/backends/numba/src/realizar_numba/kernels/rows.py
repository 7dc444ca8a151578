"""Row movers: embedding, gather_rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from realizar_numba.memory import Matrix
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.jit import whole
from realizar_numba.simd.memory import load_first_f32, load_i32, load_i64, store_f32, store_first_f32
from realizar_numba.weights.packed import PackedWeight
from realizar_numba.weights.registry import LAYOUTS

EMBEDDING = record(
    "num_rows", "ids", "data", "group_nbytes", "num_embeddings", "out", "out_stride", "width", floats=("scale",)
)
GATHER = record("num_rows", "rows", "x", "x_stride", "width", "out", "out_stride")

_read_embedding, _read_gather = reader(EMBEDDING), reader(GATHER)


def build_embedding(type_name: str) -> Callable[..., Any]:
    """The phase of EMBEDDING for a weight type. Ids beyond the table give the nearest row: memory stays safe."""
    value = LAYOUTS[type_name].build_value()

    @whole
    def embedding(thread, num_threads, arguments):
        a = _read_embedding(arguments)
        for t in range(load_i64(a.num_rows)):
            row = min(max(np.int64(load_i32(a.ids + 4 * t)), 0), a.num_embeddings - 1)
            group, out = a.data + row // 16 * a.group_nbytes, a.out + t * a.out_stride
            for c in range(a.width * thread // num_threads, a.width * (thread + 1) // num_threads):
                store_f32(out + 4 * c, value(group, row % 16, c) * a.scale)

    return embedding


def append_embedding(program: Program, ids: int, weight: PackedWeight, scale: float, out: Matrix) -> None:
    """Append out[t] = row ids[t] of weight, times scale; ids is the address of int32."""
    arguments = fill(
        EMBEDDING,
        num_rows=out.num_rows,
        ids=ids,
        data=program.keep(weight.data),
        group_nbytes=weight.group_nbytes,
        num_embeddings=weight.rows,
        out=out.address,
        out_stride=out.stride,
        width=weight.columns,
        scale=scale,
    )
    label = f"embedding ({weight.type_name})"
    program.append(program.kernels.address(label, build_embedding, weight.type_name), arguments)


def build_gather() -> Callable[..., Any]:
    """The phase of GATHER."""

    @whole
    def gather(thread, num_threads, arguments):
        a = _read_gather(arguments)
        for r in range(thread, load_i64(a.num_rows), num_threads):
            x, out = a.x + a.x_stride * load_i32(a.rows + 4 * r), a.out + r * a.out_stride
            for c in range(0, a.width, 16):
                store_first_f32(out + 4 * c, load_first_f32(x + 4 * c, a.width - c), a.width - c)

    return gather


def append_gather(program: Program, x: Matrix, rows: int, out: Matrix) -> None:
    """Append out[r] = x[rows[r]]; rows is the address of int32."""
    arguments = fill(
        GATHER,
        num_rows=out.num_rows,
        rows=rows,
        x=x.address,
        x_stride=x.stride,
        width=x.width,
        out=out.address,
        out_stride=out.stride,
    )
    program.append(program.kernels.address("gather rows", build_gather), arguments)
