"""The paged KV cache of one layer, in the order in which attention reads it.

Tokens lie in chunks of 16; a block of the engine is one chunk or several. Keys: [chunk][head][head_dim][16
positions], so that one load gives a dimension of 16 keys; values: [chunk][head][16 positions][head_dim, padded to
16]. No sum ever runs across lanes.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import CacheSpec
from realizar.errors import ModelError
from realizar_numba.memory import address, aligned_zeros

CHUNK = 16
ELEMENT_NBYTES = {"F16": 2, "F32": 4}


@attrs.frozen
class LayerCache:
    """Keys and values of a layer; zeroed once, because a masked weight of 0 times a NaN would be a NaN."""

    dtype: str
    num_key_value_heads: int
    head_dim: int
    chunks_per_block: int
    keys: NDArray[Any] = attrs.field(repr=False)
    values: NDArray[Any] = attrs.field(repr=False)

    @property
    def padded_dim(self) -> int:
        """Columns that a value takes."""
        return -(-self.head_dim // 16) * 16

    def layout(self) -> dict[str, int]:
        """The fields of a kernel's record that describe this cache."""
        element = ELEMENT_NBYTES[self.dtype]
        key_head, value_head = CHUNK * self.head_dim * element, CHUNK * self.padded_dim * element
        return {
            "keys": address(self.keys),
            "values": address(self.values),
            "key_head_nbytes": key_head,
            "key_chunk_nbytes": key_head * self.num_key_value_heads,
            "value_head_nbytes": value_head,
            "value_chunk_nbytes": value_head * self.num_key_value_heads,
        }


def make_layers(spec: CacheSpec) -> list[LayerCache]:
    """Zeroed caches of all layers; raises ModelError for a block size that is not whole chunks."""
    chunks_per_block, rest = divmod(spec.block_size, CHUNK)
    if rest or spec.dtype not in ELEMENT_NBYTES:
        raise ModelError(
            f"KV cache of {spec.dtype} in blocks of {spec.block_size} tokens: the numba backend needs "
            f"{' or '.join(ELEMENT_NBYTES)} and a multiple of {CHUNK} tokens"
        )
    return [_make_layer(spec, chunks_per_block, heads, head_dim) for heads, head_dim in spec.layers]


def _make_layer(spec: CacheSpec, chunks_per_block: int, heads: int, head_dim: int) -> LayerCache:
    element = ELEMENT_NBYTES[spec.dtype]
    positions = spec.num_blocks * spec.block_size
    padded = -(-head_dim // 16) * 16
    keys, values = (
        aligned_zeros(positions * heads * width * element).view(np.dtype(f"u{element}")) for width in (head_dim, padded)
    )
    return LayerCache(spec.dtype, heads, head_dim, chunks_per_block, keys, values)
