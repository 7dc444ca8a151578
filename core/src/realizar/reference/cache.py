"""The paged key/value cache of one layer, in NumPy: numbers rounded as its type holds them."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.dtypes import DType
from realizar.quant import dequantize, quantize

Real = NDArray[np.floating[Any]]


@attrs.frozen
class LayerCache:
    """keys, values: [num_blocks, block_size, K, head_dim]. kind: what they are rounded to; None: left as they are."""

    keys: Real
    values: Real
    kind: DType | None = None

    def write(self, slots: NDArray[np.int32], k: Real, v: Real) -> None:
        """Store k, v [T, K, head_dim] at `slots` [T]."""
        flat = (-1, *self.keys.shape[2:])
        self.keys.reshape(flat)[slots] = self._rounded(k)
        self.values.reshape(flat)[slots] = self._rounded(v)

    def _rounded(self, x: Real) -> Real:
        if self.kind is None:
            return x
        head_dim = x.shape[-1]
        padding = -head_dim % self.kind.block_size
        padded = np.pad(x.astype(np.float32, copy=False), ((0, 0), (0, 0), (0, padding)))
        return dequantize(quantize(padded, self.kind), self.kind)[..., :head_dim]

    def read(self, block_table: NDArray[np.int32], length: int) -> tuple[Real, Real]:
        """Keys and values [length, K, head_dim] of a sequence, in position order."""
        block_size = self.keys.shape[1]
        blocks = block_table[: -(-length // block_size)]
        flat = (-1, *self.keys.shape[2:])
        return self.keys[blocks].reshape(flat)[:length], self.values[blocks].reshape(flat)[:length]
