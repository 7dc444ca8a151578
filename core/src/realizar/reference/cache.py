"""The paged key/value cache of one layer, in NumPy."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating[Any]]


@attrs.frozen
class LayerCache:
    """keys, values: [num_blocks, block_size, K, head_dim]."""

    keys: Real
    values: Real

    def write(self, slots: NDArray[np.int32], k: Real, v: Real) -> None:
        """Store k, v [T, K, head_dim] at `slots` [T]."""
        flat = (-1, *self.keys.shape[2:])
        self.keys.reshape(flat)[slots] = k
        self.values.reshape(flat)[slots] = v

    def read(self, block_table: NDArray[np.int32], length: int) -> tuple[Real, Real]:
        """Keys and values [length, K, head_dim] of a sequence, in position order."""
        block_size = self.keys.shape[1]
        blocks = block_table[: -(-length // block_size)]
        flat = (-1, *self.keys.shape[2:])
        return self.keys[blocks].reshape(flat)[:length], self.values[blocks].reshape(flat)[:length]
