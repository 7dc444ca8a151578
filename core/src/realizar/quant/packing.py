"""The two moves every block type is made of: take small integers out of bytes, and scale groups of them."""

from __future__ import annotations

import numpy as np

from realizar.quant.layouts import Array, Blocks, ByteArray, Float32Array


def unpack(packed: Array, bits: int, run: int) -> ByteArray:
    """Small integers out of bytes: uint8 [n, bytes] to uint8 [n, bytes * 8 / bits].

    Each run of `run` bytes holds first its lowest `bits` of every byte, then the next `bits` of every byte, and so on:
    element `(r, p, j)` lies in byte `r * run + j` at bit `p * bits`. With `run=1` elements are packed in plain order.
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    runs = packed.reshape(len(packed), -1, 1, run)
    unpacked: ByteArray = (runs >> shifts) & np.uint8((1 << bits) - 1)
    return unpacked.reshape(len(packed), -1)


def pack(codes: Array, bits: int, run: int) -> ByteArray:
    """The inverse of `unpack`: uint8 [n, elements], each below 2^bits, to uint8 [n, elements * bits / 8]."""
    runs = codes.reshape(len(codes), -1, 8 // bits, run)
    packed: ByteArray = runs[:, :, 0].astype(np.uint8)
    for place in range(1, 8 // bits):
        packed |= runs[:, :, place].astype(np.uint8) << np.uint8(place * bits)
    return packed.reshape(len(codes), -1)


def scale_of(blocks: Blocks, field: str = "d") -> Float32Array:
    """A floating-point field of the blocks as float32 [n, 1]."""
    return blocks[field].astype(np.float32)


def scaled(scales: Float32Array, values: Array) -> Float32Array:
    """Each group of values times its own scale: [n, groups] and [n, elements] to float32 [n, elements]."""
    groups = values.astype(np.float32, copy=False).reshape(*scales.shape, -1)
    return (scales[..., None] * groups).reshape(len(scales), -1)
