"""Stored tensors to float32, the definition every kernel is measured against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from realizar.dtypes import DType
from realizar.errors import FormatError
from realizar.quant import fp4, fp8, iq_quants, k_quants, legacy, ternary
from realizar.quant.layouts import LAYOUTS, Array, Blocks, Float32Array

DEQUANTIZERS: dict[str, Callable[[Blocks], Float32Array]] = {
    "Q1_0": legacy.q1_0, "Q2_0": legacy.q2_0, "Q4_0": legacy.q4_0, "Q4_1": legacy.q4_1,
    "Q5_0": legacy.q5_0, "Q5_1": legacy.q5_1, "Q8_0": legacy.q8_0, "Q8_1": legacy.q8_1,
    "Q2_K": k_quants.q2_k, "Q3_K": k_quants.q3_k, "Q4_K": k_quants.q4_k,
    "Q5_K": k_quants.q5_k, "Q6_K": k_quants.q6_k, "Q8_K": k_quants.q8_k,
    "IQ1_S": iq_quants.iq1_s, "IQ1_M": iq_quants.iq1_m, "IQ2_XXS": iq_quants.iq2_xxs, "IQ2_XS": iq_quants.iq2_xs,
    "IQ2_S": iq_quants.iq2_s, "IQ3_XXS": iq_quants.iq3_xxs, "IQ3_S": iq_quants.iq3_s,
    "IQ4_NL": iq_quants.iq4_nl, "IQ4_XS": iq_quants.iq4_xs,
    "TQ1_0": ternary.tq1_0, "TQ2_0": ternary.tq2_0, "MXFP4": fp4.mxfp4, "NVFP4": fp4.nvfp4,
}  # fmt: skip
"""Block type to its function: blocks [n] of `LAYOUTS[name]` to float32 [n, block_size]."""

SLICE_ELEMENTS = 1 << 18
"""Elements decoded at a time: 1 MiB of float32, so temporaries stay in the cache and far below 64 MB."""


def dequantize(stored: Array, dtype: DType) -> Float32Array:
    """All elements of a stored tensor as float32.

    Plain types: `stored` is an array of `dtype.storage`, any shape; the result has the same shape (F32 comes back as it
    is, not copied). Block types: `stored` is uint8 [..., row_nbytes]; the result is [..., elements].
    Beside the result, less than 64 MB are allocated, unless `stored` is not C-contiguous and must be copied.
    Raises FormatError if `stored` is of another NumPy type, or its last dimension is not whole blocks.
    """
    # Hostile or merely odd scales make inf and NaN; those are the defined result, not a cause for warnings.
    with np.errstate(over="ignore", invalid="ignore"):
        return _dequantize_blocks(stored, dtype) if dtype.is_quantized else _dequantize_plain(stored, dtype)


def _check_storage(stored: Array, dtype: DType) -> None:
    if stored.dtype != np.dtype(dtype.storage):
        raise FormatError(f"{dtype.name} is stored as an array of {np.dtype(dtype.storage)}, not of {stored.dtype}")


def _dequantize_plain(stored: Array, dtype: DType) -> Float32Array:
    _check_storage(stored, dtype)
    if dtype.name in fp8.VALUES:
        return fp8.VALUES[dtype.name][stored]
    if dtype.name != "BF16":
        return stored.astype(np.float32, copy=False)
    bits = stored.astype(np.uint32)  # a bfloat16 is the upper half of a float32
    np.left_shift(bits, 16, out=bits)
    return bits.view(np.float32)


def _dequantize_blocks(stored: Array, dtype: DType) -> Float32Array:
    _check_storage(stored, dtype)
    row_nbytes = stored.shape[-1] if stored.ndim else 0
    if stored.ndim == 0 or row_nbytes % dtype.block_nbytes:
        raise FormatError(
            f"{dtype.name} rows are whole blocks of {dtype.block_nbytes} bytes, the stored shape is {stored.shape}; "
            f"the tensor is truncated or of another type"
        )
    decode, layout = DEQUANTIZERS[dtype.name], LAYOUTS[dtype.name]
    blocks = np.ascontiguousarray(stored).reshape(-1, dtype.block_nbytes).view(layout)[:, 0]
    out = np.empty((len(blocks), dtype.block_size), dtype=np.float32)
    step = SLICE_ELEMENTS // dtype.block_size
    for start in range(0, len(blocks), step):
        out[start : start + step] = decode(blocks[start : start + step])
    return out.reshape(*stored.shape[:-1], row_nbytes // dtype.block_nbytes * dtype.block_size)
