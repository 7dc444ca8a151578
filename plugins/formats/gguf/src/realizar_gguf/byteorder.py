"""Byte order of tensor data.

A big-endian file holds every number of more than one byte swapped, inside blocks too. Only the types for which
llama.cpp's conversion between the orders says what to swap are defined; plain numbers are beyond doubt.
Source: llama.cpp `gguf-py/gguf/scripts/gguf_convert_endian.py`; field offsets: ggml `ggml-common.h`, `block_*`.
"""

from __future__ import annotations

from realizar.dtypes import DTYPES, DType
from realizar.tensors import Array
from realizar_gguf.ggml_types import NUMBERS

BLOCK_HALVES: dict[str, tuple[int, ...]] = {
    "Q1_0": (0,), "Q4_0": (0,), "Q8_0": (0,), "Q4_K": (0, 2), "Q6_K": (208,), "TQ2_0": (64,),
    "MXFP4": (), "NVFP4": (),
}  # fmt: skip
"""Where the 16-bit fields of a block lie; everything else in these blocks is single bytes."""

SWAPPABLE = frozenset(BLOCK_HALVES) | {name for name in NUMBERS if not DTYPES[name].is_quantized}


def swap_bytes(stored: Array, dtype: DType) -> Array:
    """The same elements in the other byte order, as a copy of the same type and shape; its own inverse.

    Little-endian arrays become the bytes of a big-endian file, and the bytes of such a file, taken for
    little-endian ones, become the array that was meant.
    """
    if not dtype.is_quantized:
        return stored.byteswap()
    swapped = stored.copy()
    blocks = swapped.reshape(-1, dtype.block_nbytes)
    for at in BLOCK_HALVES[dtype.name]:
        blocks[:, [at, at + 1]] = blocks[:, [at + 1, at]]
    return swapped
