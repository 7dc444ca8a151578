"""Float32 to 4-bit indices into a table of values: IQ4_NL and MXFP4.

Each function takes rows [n, 32] and weights of the same shape or None, and fills blocks [n] of its layout.
"""

from __future__ import annotations

import numpy as np

from realizar.quant.fitting import Weights, fit_symmetric
from realizar.quant.fp4 import E2M1_DOUBLED
from realizar.quant.iq_quants import IQ4_VALUES
from realizar.quant.layouts import Blocks, ByteArray, Float32Array
from realizar.quant.packing import pack

_IQ4 = IQ4_VALUES.astype(np.float32)
_IQ4_BOUNDS = (_IQ4[1:] + _IQ4[:-1]) / 2
_E2M1 = E2M1_DOUBLED[:8].astype(np.float32)
_E2M1_BOUNDS = (_E2M1[1:] + _E2M1[:-1]) / 2

_NEAREST_IQ4 = np.searchsorted(_IQ4_BOUNDS, np.arange(-128, 128, 0.5)).astype(np.uint8)
"""The index of the nearest value, by twice the number and 256 more: all bounds are whole or half numbers."""


def _iq4_index(scaled: Float32Array) -> ByteArray:
    """Of the nearest value; numbers between two of the table's steps go up, and no bound lies there."""
    return _NEAREST_IQ4[np.ceil(scaled * 2 + 256).clip(0, 511).astype(np.intp)]


def iq4_nl(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    """A table of 16 values that are denser around zero, one scale of either sign."""
    x = np.ascontiguousarray(rows.T)
    w = rows * rows if weights is None else weights
    scale = fit_symmetric(
        x, np.ascontiguousarray(w.T), int(_IQ4[0]), (-6, -4, -2, 0, 2, 4, 6), 2, lambda s: _IQ4[_iq4_index(s)]
    )
    blocks["d"] = scale[:, np.newaxis]
    inverse = np.float32(1) / blocks["d"].astype(np.float32)
    inverse[~np.isfinite(inverse)] = 0
    blocks["qs"] = pack(_iq4_index(rows * inverse), bits=4, run=16)


def mxfp4(rows: Float32Array, weights: Weights, blocks: Blocks) -> None:
    """E2M1 with the power of two that puts the largest element between 4 and 8; weights change nothing.

    Source: OCP Microscaling Formats 1.0, section 6.3.
    """
    largest = np.abs(rows).max(axis=1, keepdims=True)
    exponent = np.frexp(largest)[1] - 1
    e = np.where(largest > 0, (exponent - 2 + 127).clip(0, 254), 0)
    doubled = np.ldexp(rows, 128 - e.astype(np.int32))
    index = np.searchsorted(_E2M1_BOUNDS, np.abs(doubled)).astype(np.uint8)
    blocks["e"] = e
    blocks["qs"] = pack(index | (np.signbit(rows) & (index > 0)).astype(np.uint8) << 3, bits=4, run=16)
