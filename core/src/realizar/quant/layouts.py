"""Where each field lies inside a quantized block, as NumPy structured types.

Names, order and sizes follow the `block_*` structs of ggml's `ggml-common.h`; no padding, numbers are little-endian.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Blocks: TypeAlias = NDArray[np.void]
"""Blocks [n] of one layout; a field reads as [n, count], so a scale broadcasts over its block."""

Array: TypeAlias = NDArray[Any]
Float32Array: TypeAlias = NDArray[np.float32]
ByteArray: TypeAlias = NDArray[np.uint8]


def _layout(*fields: tuple[str, str, int]) -> np.dtype[np.void]:
    return np.dtype([(name, format_, (count,)) for name, format_, count in fields])


LAYOUTS: dict[str, np.dtype[np.void]] = {
    "Q1_0": _layout(("d", "<f2", 1), ("qs", "u1", 16)),
    "Q2_0": _layout(("d", "<f2", 1), ("qs", "u1", 16)),
    "Q4_0": _layout(("d", "<f2", 1), ("qs", "u1", 16)),
    "Q4_1": _layout(("d", "<f2", 1), ("m", "<f2", 1), ("qs", "u1", 16)),
    "Q5_0": _layout(("d", "<f2", 1), ("qh", "u1", 4), ("qs", "u1", 16)),
    "Q5_1": _layout(("d", "<f2", 1), ("m", "<f2", 1), ("qh", "u1", 4), ("qs", "u1", 16)),
    "Q8_0": _layout(("d", "<f2", 1), ("qs", "i1", 32)),
    "Q8_1": _layout(("d", "<f2", 1), ("s", "<f2", 1), ("qs", "i1", 32)),
    "Q2_K": _layout(("scales", "u1", 16), ("qs", "u1", 64), ("d", "<f2", 1), ("dmin", "<f2", 1)),
    "Q3_K": _layout(("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", "<f2", 1)),
    "Q4_K": _layout(("d", "<f2", 1), ("dmin", "<f2", 1), ("scales", "u1", 12), ("qs", "u1", 128)),
    "Q5_K": _layout(("d", "<f2", 1), ("dmin", "<f2", 1), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)),
    "Q6_K": _layout(("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", "<f2", 1)),
    "Q8_K": _layout(("d", "<f4", 1), ("qs", "i1", 256), ("bsums", "<i2", 16)),
    "IQ1_S": _layout(("d", "<f2", 1), ("qs", "u1", 32), ("qh", "<u2", 8)),
    "IQ1_M": _layout(("qs", "u1", 32), ("qh", "u1", 16), ("scales", "<u2", 4)),
    "IQ2_XXS": _layout(("d", "<f2", 1), ("qs", "u1", 64)),
    "IQ2_XS": _layout(("d", "<f2", 1), ("qs", "<u2", 32), ("scales", "u1", 8)),
    "IQ2_S": _layout(("d", "<f2", 1), ("qs", "u1", 32), ("signs", "u1", 32), ("qh", "u1", 8), ("scales", "u1", 8)),
    "IQ3_XXS": _layout(("d", "<f2", 1), ("qs", "u1", 64), ("signs", "<u4", 8)),
    "IQ3_S": _layout(("d", "<f2", 1), ("qs", "u1", 64), ("qh", "u1", 8), ("signs", "u1", 32), ("scales", "u1", 4)),
    "IQ4_NL": _layout(("d", "<f2", 1), ("qs", "u1", 16)),
    "IQ4_XS": _layout(("d", "<f2", 1), ("scales_h", "u1", 2), ("scales_l", "u1", 4), ("qs", "u1", 128)),
    "TQ1_0": _layout(("qs", "u1", 48), ("qh", "u1", 4), ("d", "<f2", 1)),
    "TQ2_0": _layout(("qs", "u1", 64), ("d", "<f2", 1)),
    "MXFP4": _layout(("e", "u1", 1), ("qs", "u1", 16)),
    "NVFP4": _layout(("d", "u1", 4), ("qs", "u1", 32)),
}
"""The layout of every block type; `itemsize` is the block's size in bytes."""
