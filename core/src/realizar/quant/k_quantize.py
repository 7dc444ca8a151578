"""Float32 to super-blocks of 256: Q2_K to Q6_K. Layouts: `k_quants`, which reads them.

Each function takes rows [n, 256] and weights of the same shape or None, and fills blocks [n] of its layout.
"""

from __future__ import annotations

import numpy as np

from realizar.quant.fitting import Weights, fit_affine, fit_symmetric
from realizar.quant.layouts import Array, Blocks, ByteArray, Float32Array
from realizar.quant.packing import pack

MAX_6_BITS, MAX_4_BITS = 63, 15
NO_OFFSET = np.zeros((1, 1), np.float32)


def _groups(rows: Float32Array, size: int) -> Float32Array:
    """[n, 256] as [size, n * 256 / size], a group a column."""
    return np.ascontiguousarray(rows.reshape(-1, size).T)


def _grouped(rows: Float32Array, weights: Weights, size: int) -> tuple[Float32Array, Weights]:
    return _groups(rows, size), None if weights is None else _groups(weights, size)


def _steps(values: Float32Array, top: int) -> tuple[Float32Array, ByteArray]:
    """Values >= 0 [n, groups] as d [n, 1], rounded as it is stored, and codes in 0..top."""
    d = (values.max(axis=1, keepdims=True) / top).astype(np.float16).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.nan_to_num(np.rint(values / d), nan=0.0, posinf=top)
    return d, codes.clip(0, top).astype(np.uint8)


def _codes(
    rows: Float32Array, scales: Float32Array, offsets: Float32Array | float, low: int, high: int
) -> Float32Array:
    """(x - offset) / scale of each group, rounded and bounded; 0 where the scale is 0."""
    grouped = rows.reshape(*scales.shape, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(scales == 0, 0, 1 / scales).astype(np.float32)
        shifted = grouped - np.asarray(offsets, np.float32)[..., np.newaxis] if np.ndim(offsets) else grouped
        codes = np.rint(shifted * inverse[..., np.newaxis])
    bounded: Float32Array = codes.clip(low, high).reshape(len(rows), -1)
    return bounded


def _affine(
    rows: Float32Array, weights: Weights, size: int, top: int, scale_top: int, steps: tuple[float, ...], turns: int
) -> tuple[Float32Array, ByteArray, Float32Array, ByteArray, ByteArray]:
    """d, scale codes, dmin, min codes and codes [n, 256] of w = d s q - dmin m."""
    x, w = _grouped(rows, weights, size)
    scale, offset = fit_affine(x, w, top, steps, turns)
    d, s = _steps(np.maximum(scale, 0).reshape(len(rows), -1), scale_top)
    dmin, m = _steps(-offset.reshape(len(rows), -1), scale_top)
    return d, s, dmin, m, _codes(rows, d * s, -dmin * m, 0, top).astype(np.uint8)


def q2_k(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    """2-bit codes, 16 groups of 16, 4-bit scales and minima."""
    d, s, dmin, m, q = _affine(rows, weights, 16, 3, MAX_4_BITS, (-0.6, -0.3, 0.0, 0.3, 0.6, 0.9), 3)
    blocks["d"], blocks["dmin"], blocks["scales"] = d, dmin, s | (m << 4)
    blocks["qs"] = pack(q, bits=2, run=32)


def _six_bits(scales: ByteArray, mins: ByteArray) -> ByteArray:
    """The inverse of `k_quants._six_bit_scales_and_mins`."""
    first = np.concatenate([scales[:, :4] | (scales[:, 4:] >> 4 << 6), mins[:, :4] | (mins[:, 4:] >> 4 << 6)], axis=1)
    return np.concatenate([first, (scales[:, 4:] & 15) | ((mins[:, 4:] & 15) << 4)], axis=1)


def q4_k(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    """4-bit codes, 8 groups of 32, 6-bit scales and minima."""
    d, s, dmin, m, q = _affine(rows, weights, 32, 15, MAX_6_BITS, (-0.8, -0.4, 0.0, 0.4, 0.8), 2)
    blocks["d"], blocks["dmin"], blocks["scales"] = d, dmin, _six_bits(s, m)
    blocks["qs"] = pack(q, bits=4, run=32)


def q5_k(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    """5-bit codes, 8 groups of 32, 6-bit scales and minima."""
    d, s, dmin, m, q = _affine(rows, weights, 32, 31, MAX_6_BITS, (-0.8, -0.4, 0.0, 0.4, 0.8), 2)
    blocks["d"], blocks["dmin"], blocks["scales"] = d, dmin, _six_bits(s, m)
    blocks["qs"], blocks["qh"] = pack(q & 15, bits=4, run=32), pack(q >> 4, bits=1, run=32)


def _signed_steps(scales: Float32Array, bottom: int) -> tuple[Float32Array, Array]:
    """Scales [n, groups] of either sign as d [n, 1], rounded as it is stored, and codes in bottom..-bottom - 1.

    The largest is `bottom`, so that d has the opposite sign.
    """
    extreme = np.take_along_axis(scales, np.abs(scales).argmax(axis=1, keepdims=True), axis=1)
    d = (extreme / np.float32(bottom)).astype(np.float16).astype(np.float32)
    return d, _codes(scales, d, NO_OFFSET, bottom, -bottom - 1).astype(np.int8)


def q3_k(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    """3-bit codes, 16 groups of 16, 6-bit scales around 32."""
    x, w = _grouped(rows, weights, 16)
    scale = fit_symmetric(x, w, -4, (-0.8, -0.4, 0.0, 0.4, 0.8), 3).reshape(len(rows), -1)
    d, s = _signed_steps(scale, -32)
    q = (_codes(rows, d * s, NO_OFFSET, -4, 3) + 4).astype(np.uint8)
    codes = (s + 32).astype(np.uint8)
    blocks["d"] = d
    blocks["scales"][:, :8] = pack(codes & 15, bits=4, run=8)
    blocks["scales"][:, 8:] = pack(codes >> 4, bits=2, run=4)
    blocks["qs"], blocks["hmask"] = pack(q & 3, bits=2, run=32), pack(q >> 2, bits=1, run=32)


def q6_k(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    """6-bit codes around 32, 16 groups of 16, signed 8-bit scales."""
    x, w = _grouped(rows, weights, 16)
    scale = fit_symmetric(x, w, -32, (-0.6, -0.3, 0.0, 0.3, 0.6), 1).reshape(len(rows), -1)
    d, s = _signed_steps(scale, -128)
    q = (_codes(rows, d * s, NO_OFFSET, -32, 31) + 32).astype(np.uint8)
    blocks["d"], blocks["scales"] = d, s
    blocks["ql"], blocks["qh"] = pack(q & 15, bits=4, run=64), pack(q >> 4, bits=2, run=32)
