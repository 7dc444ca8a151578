"""Three-valued weights: TQ1_0 and TQ2_0.

Each function takes blocks [n] of its layout and returns float32 [n, 256].
Source: ggml `ggml-quants.c`, `dequantize_row_tq1_0` and `dequantize_row_tq2_0`.
"""

from __future__ import annotations

import numpy as np

from realizar.quant.layouts import Array, Blocks, ByteArray, Float32Array
from realizar.quant.packing import scale_of, unpack


def _digits(packed: Array, count: int, run: int) -> ByteArray:
    """The first `count` base-3 digits of each byte, most significant first, in runs as `unpack` orders bits.

    A byte b stands for the fraction b / 256: its next digit is the whole part of 3 b / 256. Times a power of 3, the
    digits already read overflow the byte and are gone.
    """
    powers = np.uint8(3) ** np.arange(count, dtype=np.uint8)[:, None]
    rest: ByteArray = packed.reshape(len(packed), -1, 1, run) * powers
    digits: ByteArray = ((rest.astype(np.uint16) * 3) >> 8).astype(np.uint8)
    return digits.reshape(len(packed), -1)


def tq1_0(blocks: Blocks) -> Float32Array:
    """w = d (q - 1), q in 0..2: five elements in a byte of `qs` (runs of 32, then of 16 bytes), four in one of `qh`."""
    parts = (
        _digits(blocks["qs"][:, :32], count=5, run=32),
        _digits(blocks["qs"][:, 32:], count=5, run=16),
        _digits(blocks["qh"], count=4, run=4),
    )
    return scale_of(blocks) * (np.concatenate(parts, axis=-1).astype(np.int8) - 1)


def tq2_0(blocks: Blocks) -> Float32Array:
    """w = d (q - 1), 2-bit q."""
    return scale_of(blocks) * (unpack(blocks["qs"], bits=2, run=32).astype(np.int8) - 1)
