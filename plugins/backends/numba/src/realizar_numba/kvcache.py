"""The paged KV cache of one layer, in the order in which attention reads it.

Tokens lie in chunks of 16; a block of the engine is one chunk or several. A head's chunks follow one another, so that
a sequence whose blocks are neighbours is read in long runs. A chunk of keys is [head_dim][16 positions], so that one
load gives a dimension of 16 keys; a chunk of values [16 positions][head_dim]. No sum ever runs across lanes.

In Q8_0 a block is 32 dimensions of one head at one position: int8 and a float16 scale, the largest magnitude becoming
127. The numbers of a chunk lie as above, the scales of its 16 positions behind them, block after block.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import CacheSpec
from realizar.errors import ModelError
from realizar_numba.memory import address, sparse_zeros

CHUNK = 16
MAX_HEAD_DIM = 256
SCALES_NBYTES = 2 * CHUNK
"""Scales of one block of 32 dimensions of a chunk."""

_LINE = 64


@attrs.frozen
class KVType:
    """element_nbytes: of a number. block_size: dimensions that share a scale; 0: there are no scales."""

    element_nbytes: int
    block_size: int = 0


KV_TYPES = {"F16": KVType(2), "F32": KVType(4), "BF16": KVType(2), "Q8_0": KVType(1, 32)}


@attrs.frozen
class LayerCache:
    """Keys and values of a layer. Numbers that nothing was written to may be read but never reach a sum."""

    dtype: str
    num_key_value_heads: int
    head_dim: int
    num_chunks: int
    chunks_per_block: int
    keys: NDArray[np.uint8] = attrs.field(repr=False)
    values: NDArray[np.uint8] = attrs.field(repr=False)

    @property
    def padded_dim(self) -> int:
        """Dimensions that a key or value takes: whole vectors, whole blocks."""
        return padded(self.head_dim, self.dtype)

    def layout(self) -> dict[str, int]:
        """The fields of a kernel's record that describe this cache."""
        chunk = chunk_nbytes(self.head_dim, self.dtype)
        return {
            "keys": address(self.keys),
            "values": address(self.values),
            "chunk_nbytes": chunk,
            "head_nbytes": chunk * self.num_chunks,
            "scales": CHUNK * self.padded_dim * KV_TYPES[self.dtype].element_nbytes,
            "chunks_per_block": self.chunks_per_block,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "padded_dim": self.padded_dim,
        }

    def blocks(self, part: NDArray[np.uint8], blocks: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
        """Keys or values as [heads, chunks, bytes], and the chunks of `blocks`, in order."""
        per_block = self.chunks_per_block
        chunks = (np.asarray(blocks, np.intp)[:, None] * per_block + np.arange(per_block)).reshape(-1)
        return part.reshape(self.num_key_value_heads, self.num_chunks, -1), chunks


def read_blocks(cache: Sequence[LayerCache], blocks: Sequence[int]) -> NDArray[np.uint8]:
    """Bytes of blocks, [B, nbytes]: of each layer the keys, then the values, head after head."""
    rows = []
    for layer in cache:
        for part in (layer.keys, layer.values):
            heads, chunks = layer.blocks(part, blocks)
            rows.append(heads[:, chunks].reshape(len(heads), len(blocks), -1).swapaxes(0, 1).reshape(len(blocks), -1))
    return np.concatenate(rows, axis=1)


def write_blocks(cache: Sequence[LayerCache], blocks: Sequence[int], content: NDArray[np.uint8]) -> None:
    """The reverse."""
    at = 0
    for layer in cache:
        for part in (layer.keys, layer.values):
            heads, chunks = layer.blocks(part, blocks)
            nbytes = part.nbytes // layer.num_chunks * layer.chunks_per_block
            rows = content[: len(blocks), at : at + nbytes].reshape(len(blocks), len(heads), -1).swapaxes(0, 1)
            heads[:, chunks] = rows.reshape(len(heads), len(chunks), -1)
            at += nbytes


def padded(head_dim: int, dtype: str) -> int:
    """head_dim rounded up to whole vectors, or to whole blocks of a type that has them."""
    unit = KV_TYPES[dtype].block_size or 16
    return -(-head_dim // unit) * unit


def chunk_nbytes(head_dim: int, dtype: str) -> int:
    """Bytes of 16 keys (or values) of a head, in whole cache lines."""
    kind, width = KV_TYPES[dtype], padded(head_dim, dtype)
    scales = width // kind.block_size * SCALES_NBYTES if kind.block_size else 0
    return -(-(CHUNK * width * kind.element_nbytes + scales) // _LINE) * _LINE


def make_layers(spec: CacheSpec) -> list[LayerCache]:
    """Zeroed caches of all layers; raises ModelError for a type, block size or head size that the kernels lack."""
    chunks_per_block, rest = divmod(spec.block_size, CHUNK)
    if rest or spec.dtype not in KV_TYPES:
        raise ModelError(
            f"KV cache of {spec.dtype} in blocks of {spec.block_size} tokens: the numba backend needs "
            f"{' or '.join(KV_TYPES)} and a multiple of {CHUNK} tokens"
        )
    widest = max((head_dim for _, head_dim in spec.layers), default=0)
    if widest > MAX_HEAD_DIM:
        raise ModelError(f"heads of {widest} dimensions: the numba backend's attention takes at most {MAX_HEAD_DIM}")
    return [_make_layer(spec, chunks_per_block, heads, head_dim) for heads, head_dim in spec.layers]


def _make_layer(spec: CacheSpec, chunks_per_block: int, heads: int, head_dim: int) -> LayerCache:
    num_chunks = spec.num_blocks * chunks_per_block
    nbytes = heads * num_chunks * chunk_nbytes(head_dim, spec.dtype)
    keys, values = (sparse_zeros(nbytes) for _ in range(2))
    return LayerCache(spec.dtype, heads, head_dim, num_chunks, chunks_per_block, keys, values)
