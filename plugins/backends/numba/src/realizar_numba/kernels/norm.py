"""RMS and layer normalization, optionally straight into quantized activations.

A lone token is normalized by every thread for itself, into its own copy: cheaper than a barrier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realizar_numba.activations import (
    BLOCK_NBYTES,
    BLOCK_SIZE,
    Activations,
    destination,
    lane_address,
    quantize_block,
)
from realizar_numba.memory import Matrix
from realizar_numba.pool import ALWAYS, IF_SHARED
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.floating import add, fma, mul, splat_f32, splat_first, sub, sum_f32, zero_f32
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import load_first_f32, load_i64, store_first_f32

NORM = record(
    "num_rows", "x", "x_stride", "width", "groups", "weight", "bias", "group_stride", "out", "out_stride",
    "activations", "lanes_per_row", "private_nbytes", floats=("eps",),
)  # fmt: skip
"""Rows of `groups` groups of `width` columns. out, activations: where the results go, or 0. bias: or 0.

group_stride: bytes from the weight of one group to that of the next, 0 where all have the same.
"""

_read_norm = reader(NORM)


@compiled
def _rms_statistics(x, width, eps):
    """(0, 1 / sqrt(mean(x^2) + eps))"""
    squares = zero_f32()
    for i in range(0, width, 16):
        v = load_first_f32(x + 4 * i, width - i)
        squares = fma(v, v, squares)
    return np.float32(0), np.float32(1) / np.sqrt(sum_f32(squares) / np.float32(width) + eps)


@compiled
def _layer_statistics(x, width, eps):
    """(mean, 1 / sqrt(variance + eps))"""
    total = zero_f32()
    for i in range(0, width, 16):
        total = add(total, load_first_f32(x + 4 * i, width - i))
    mean = sum_f32(total) / np.float32(width)
    squares = zero_f32()
    for i in range(0, width, 16):
        v = sub(load_first_f32(x + 4 * i, width - i), splat_first(mean, width - i))
        squares = fma(v, v, squares)
    return mean, np.float32(1) / np.sqrt(sum_f32(squares) / np.float32(width) + eps)


@compiled
def _normalized(x, weight, bias, mean, inverse, i, width):
    """Columns i..i+15: (x - mean) * inverse * weight + bias."""
    count = width - i
    v = mul(sub(load_first_f32(x + 4 * i, count), splat_f32(mean)), splat_f32(inverse))
    v = mul(v, load_first_f32(weight + 4 * i, count))
    return add(v, load_first_f32(bias + 4 * i, count)) if bias != 0 else v


def build_norm(kind: str) -> Callable[..., Any]:
    """The phase of NORM, for kind "rms_norm" or "layer_norm"."""
    statistics = {"rms_norm": _rms_statistics, "layer_norm": _layer_statistics}[kind]

    @whole
    def norm(thread, num_threads, arguments):
        a = _read_norm(arguments)
        num_rows, width = load_i64(a.num_rows), a.width
        alone = num_rows == 1 and a.private_nbytes != 0
        activations = a.activations + thread * a.private_nbytes if alone else a.activations
        blocks = width // BLOCK_SIZE
        for row in range(0 if alone else thread, num_rows, 1 if alone else num_threads):
            for group in range(a.groups):
                x = a.x + row * a.x_stride + 4 * width * group
                mean, inverse = statistics(x, width, a.eps)
                weight = a.weight + group * a.group_stride
                bias = a.bias + group * a.group_stride if a.bias != 0 else 0
                if activations != 0:
                    lane = lane_address(activations, row * a.lanes_per_row, blocks)
                    for b in range(blocks):
                        low = _normalized(x, weight, bias, mean, inverse, 32 * b, width)
                        high = _normalized(x, weight, bias, mean, inverse, 32 * b + 16, width)
                        quantize_block(low, high, lane + b * BLOCK_NBYTES, a.lanes_per_row)
                if a.out != 0:
                    out = a.out + row * a.out_stride + 4 * width * group
                    for i in range(0, width, 16):
                        v = _normalized(x, weight, bias, mean, inverse, i, width)
                        store_first_f32(out + 4 * i, v, width - i)

    return norm


def append_norm(
    program: Program,
    kind: str,
    x: Matrix,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    eps: float,
    out: Matrix | None,
    activations: Activations | None,
) -> None:
    """Append a normalization of x in groups as wide as a row of `weight`, into `out`, `activations`, or both."""
    width = weight.shape[-1]
    private = activations is not None and out is None
    arguments = fill(
        NORM,
        num_rows=x.num_rows,
        x=x.address,
        x_stride=x.stride,
        width=width,
        groups=x.width // width,
        weight=program.keep(weight),
        bias=0 if bias is None else program.keep(bias),
        group_stride=weight.nbytes // len(weight) if weight.ndim == 2 else 0,
        out=out.address if out else 0,
        out_stride=out.stride if out else 0,
        **destination(activations),
        private_nbytes=activations.tile_nbytes if activations and private else 0,
        eps=eps,
    )
    if activations:
        activations.private = private
    program.append(program.kernels.address(kind, build_norm, kind), arguments, IF_SHARED if private else ALWAYS)
