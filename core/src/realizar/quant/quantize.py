"""Float32 to the simple stored types, by the round-to-nearest rules of ggml's reference quantizers.

Source: ggml `ggml-quants.c`, `quantize_row_q*_ref`; `ggml-impl.h` for BF16.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from realizar.dtypes import DType
from realizar.errors import FormatError
from realizar.quant import fp8
from realizar.quant.layouts import LAYOUTS, Array, Blocks, ByteArray, Float32Array


def quantize(values: Float32Array, dtype: DType) -> Array:
    """Float32 [..., elements] as `dtype` is stored: plain types in the same shape, blocks as uint8 [..., row_nbytes].

    Plain types: F32, F16, BF16 (as uint16), F8_E4M3, F8_E5M2 (as uint8). Block types: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
    Values beyond a type's range become infinite scales or elements, and NaN in F8_E4M3, which has no infinity.
    Raises FormatError for any other type, for rows that are not whole blocks, and for NaN or infinity in a block type.
    """
    values = np.ascontiguousarray(values, dtype=np.float32).reshape(np.shape(values))
    with np.errstate(divide="ignore", over="ignore"):
        if dtype.name in _PLAIN:
            return _PLAIN[dtype.name](values)
        if dtype.name in _BLOCKS:
            return _quantize_blocks(values, dtype)
    raise FormatError(f"no quantizer for {dtype.name}; there is one for {', '.join([*_PLAIN, *_BLOCKS])}")


def _quantize_blocks(values: Float32Array, dtype: DType) -> ByteArray:
    row_nbytes = dtype.row_nbytes(values.shape[-1] if values.ndim else 1)
    if not np.isfinite(values).all():
        raise FormatError(f"cannot quantize NaN or infinity to {dtype.name}")
    rows = values.reshape(-1, dtype.block_size)
    blocks = np.empty(len(rows), dtype=LAYOUTS[dtype.name])
    _BLOCKS[dtype.name](rows, blocks)
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


def _q4_0(rows: Float32Array, blocks: Blocks) -> None:
    blocks["d"], codes = _symmetric(rows, 4)
    blocks["qs"] = _nibbles(codes)


def _q4_1(rows: Float32Array, blocks: Blocks) -> None:
    blocks["d"], blocks["m"], codes = _affine(rows, 4)
    blocks["qs"] = _nibbles(codes)


def _q5_0(rows: Float32Array, blocks: Blocks) -> None:
    blocks["d"], codes = _symmetric(rows, 5)
    blocks["qh"], blocks["qs"] = _fifth_bits(codes), _nibbles(codes)


def _q5_1(rows: Float32Array, blocks: Blocks) -> None:
    blocks["d"], blocks["m"], codes = _affine(rows, 5)
    blocks["qh"], blocks["qs"] = _fifth_bits(codes), _nibbles(codes)


def _q8_0(rows: Float32Array, blocks: Blocks) -> None:
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

_BLOCKS: dict[str, Callable[[Float32Array, Blocks], None]] = {
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0,
}  # fmt: skip
