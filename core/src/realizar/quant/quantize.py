"""Float32 to stored types.

Q4_0 to Q8_0 without an importance follow the round-to-nearest rules of ggml's reference quantizers (`ggml-quants.c`,
`quantize_row_q*_ref`) bit for bit, BF16 those of `ggml-impl.h`; everything else minimizes the (weighted) squared error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from realizar.dtypes import DType
from realizar.errors import FormatError
from realizar.quant import codebook_quantize, fp8, k_quantize
from realizar.quant.fitting import Weights, fit_affine, fit_symmetric
from realizar.quant.layouts import LAYOUTS, Array, Blocks, ByteArray, Float32Array

_STEPS, _TURNS = (-0.8, -0.4, 0.0, 0.4, 0.8), 2
"""How long scales are searched for where an importance asks for it."""

CHUNK_ELEMENTS = 1 << 16
"""Elements encoded at a time, so that temporaries stay in the cache."""


def quantize(values: Float32Array, dtype: DType, importance: Float32Array | None = None) -> Array:
    """Float32 [..., elements] as `dtype` is stored: plain types in the same shape, blocks as uint8 [..., row_nbytes].

    Types: those of QUANTIZABLE. importance: how much the square of an error counts in each place of a row, [elements];
    Q8_0, MXFP4 and plain types have no choice that it could guide.
    Values beyond a type's range become infinite scales or elements, and NaN in F8_E4M3, which has no infinity.
    Raises FormatError for any other type, for rows that are not whole blocks, and for NaN or infinity in a block type.
    """
    values = np.ascontiguousarray(values, dtype=np.float32).reshape(np.shape(values))
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if dtype.name in _PLAIN:
            return _PLAIN[dtype.name](values)
        if dtype.name in _ENCODERS:
            return _quantize_blocks(values, dtype, importance)
    raise FormatError(f"no quantizer for {dtype.name}; there is one for {', '.join(sorted(QUANTIZABLE))}")


def _quantize_blocks(values: Float32Array, dtype: DType, importance: Float32Array | None) -> ByteArray:
    row_nbytes = dtype.row_nbytes(values.shape[-1] if values.ndim else 1)
    if not np.isfinite(values).all():
        raise FormatError(f"cannot quantize NaN or infinity to {dtype.name}")
    encode, size = _ENCODERS[dtype.name], dtype.block_size
    rows = values.reshape(-1, size)
    per_row = None if importance is None else importance.reshape(-1, size)
    blocks = np.empty(len(rows), dtype=LAYOUTS[dtype.name])
    for start in range(0, len(rows), CHUNK_ELEMENTS // size):
        part = slice(start, start + CHUNK_ELEMENTS // size)
        x = rows[part]
        weights = None
        if per_row is not None:
            weights = per_row[np.arange(start, start + len(x)) % len(per_row)]
        encode(x, weights, blocks[part])
    return blocks.view(np.uint8).reshape(*values.shape[:-1], row_nbytes)


def _bf16(values: Float32Array) -> Array:
    """Rounded to nearest, ties to even; a NaN stays one, made quiet."""
    bits = values.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype(np.uint16)


def _inverse(scale: Float32Array) -> Float32Array:
    """1 / scale, or 0 where that is not finite (such a scale is stored as zero)."""
    inverse: Float32Array = np.float32(1) / scale
    inverse[~np.isfinite(inverse)] = 0
    return inverse


def _extreme(rows: Float32Array) -> Float32Array:
    """The element of largest magnitude of each row [n, 1], with its sign; the first if several."""
    return np.take_along_axis(rows, np.abs(rows).argmax(axis=-1, keepdims=True), axis=-1)


def _symmetric(rows: Float32Array, bits: int) -> tuple[Float32Array, ByteArray]:
    """Scale [n, 1] and codes [n, 32] with w = d (q - zero); the extreme element gets code 0."""
    zero = 1 << (bits - 1)
    scale: Float32Array = _extreme(rows) / np.float32(-zero)
    codes = rows * _inverse(scale) + np.float32(zero + 0.5)
    return scale, codes.astype(np.uint8).clip(0, 2 * zero - 1)


def _affine(rows: Float32Array, bits: int) -> tuple[Float32Array, Float32Array, ByteArray]:
    """Scale [n, 1], minimum [n, 1] and codes [n, 32] with w = d q + m."""
    top = (1 << bits) - 1
    low = rows.min(axis=-1, keepdims=True)
    scale = (rows.max(axis=-1, keepdims=True) - low) / top
    codes = (rows - low) * _inverse(scale) + np.float32(0.5)
    return scale, low, codes.astype(np.uint8).clip(0, top)


def _nibbles(codes: ByteArray) -> Array:
    return (codes[:, :16] & 15) | (codes[:, 16:] << 4)


def _fifth_bits(codes: ByteArray) -> Array:
    return np.packbits(codes >> 4, axis=-1, bitorder="little")


def _fitted_symmetric(rows: Float32Array, weights: Float32Array, bits: int) -> tuple[Float32Array, ByteArray]:
    """As `_symmetric`, with the scale that suits the weights."""
    zero = 1 << (bits - 1)
    x = np.ascontiguousarray(rows.T)
    scale = fit_symmetric(x, np.ascontiguousarray(weights.T), -zero, _STEPS, _TURNS)[:, np.newaxis]
    codes = np.rint(rows * _inverse(_stored(scale))).clip(-zero, zero - 1) + zero
    return scale, codes.astype(np.uint8)


def _fitted_affine(
    rows: Float32Array, weights: Float32Array, bits: int
) -> tuple[Float32Array, Float32Array, ByteArray]:
    """As `_affine`, with the scale and the minimum, at most 0, that suit the weights."""
    top = (1 << bits) - 1
    x = np.ascontiguousarray(rows.T)
    scale, low = (found[:, np.newaxis] for found in fit_affine(x, np.ascontiguousarray(weights.T), top, _STEPS, _TURNS))
    codes = np.rint((rows - _stored(low)) * _inverse(_stored(scale)))
    return scale, low, codes.clip(0, top).astype(np.uint8)


def _stored(scale: Float32Array) -> Float32Array:
    return scale.astype(np.float16).astype(np.float32)


def _q4_0(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    blocks["d"], codes = _symmetric(rows, 4) if weights is None else _fitted_symmetric(rows, weights, 4)
    blocks["qs"] = _nibbles(codes)


def _q4_1(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    blocks["d"], blocks["m"], codes = _affine(rows, 4) if weights is None else _fitted_affine(rows, weights, 4)
    blocks["qs"] = _nibbles(codes)


def _q5_0(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    blocks["d"], codes = _symmetric(rows, 5) if weights is None else _fitted_symmetric(rows, weights, 5)
    blocks["qh"], blocks["qs"] = _fifth_bits(codes), _nibbles(codes)


def _q5_1(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    blocks["d"], blocks["m"], codes = _affine(rows, 5) if weights is None else _fitted_affine(rows, weights, 5)
    blocks["qh"], blocks["qs"] = _fifth_bits(codes), _nibbles(codes)


def _q8_0(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    """Halves round away from zero."""
    scale = np.abs(rows).max(axis=-1, keepdims=True) / 127
    codes = rows * _inverse(scale)
    whole = np.trunc(codes)
    blocks["d"], blocks["qs"] = scale, whole + np.copysign(np.abs(codes - whole) >= 0.5, codes)


_PLAIN: dict[str, Callable[[Float32Array], Array]] = {
    "F32": lambda values: values,
    "F16": lambda values: values.astype(np.float16),
    "BF16": _bf16,
    "F8_E4M3": lambda values: fp8.encode(values, "F8_E4M3"),
    "F8_E5M2": lambda values: fp8.encode(values, "F8_E5M2"),
}

_ENCODERS: dict[str, Callable[[Float32Array, Weights, Blocks], None]] = {
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0,
    "Q2_K": k_quantize.q2_k, "Q3_K": k_quantize.q3_k, "Q4_K": k_quantize.q4_k, "Q5_K": k_quantize.q5_k,
    "Q6_K": k_quantize.q6_k, "IQ4_NL": codebook_quantize.iq4_nl, "MXFP4": codebook_quantize.mxfp4,
}  # fmt: skip
"""Block type to its function: rows [n, block_size] and weights of that shape or None; it fills blocks [n]."""

QUANTIZABLE = frozenset(_PLAIN) | frozenset(_ENCODERS)
"""Names of the types that `quantize` makes."""
