"""Repacking: transposes of 4-byte and 2-byte units of up to 16 rows."""

from __future__ import annotations

import numpy as np

from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import load_i16, load_i32, store_i16, store_i32, store_u8

ROWS = 16
"""Rows of a group."""

PREFETCH = 1536
"""Bytes that a one-token kernel prefetches ahead into L2 (nearer or into L1 was slower)."""


@compiled
def interleave_words(source, row_nbytes, rows, count, destination):
    """Word u of row r goes to 64 u + 4 r, for `count` words of each row."""
    for u in range(count):
        for r in range(rows):
            store_i32(destination + 64 * u + 4 * r, load_i32(source + r * row_nbytes + 4 * u))


@compiled
def interleave_halves(source, row_nbytes, rows, destination):
    """One 16-bit number of each row, side by side."""
    for r in range(rows):
        store_i16(destination + 2 * r, load_i16(source + r * row_nbytes))


@compiled
def interleave_bits(source, row_nbytes, rows, destination):
    """32 bits of each row as 4 bytes: bit s of byte c is bit 4 s + c of the row's."""
    for r in range(rows):
        bits = load_i32(source + r * row_nbytes)
        for c in range(4):
            byte = 0
            for s in range(8):
                byte |= (bits >> (4 * s + c) & 1) << s
            store_u8(destination + 4 * r + c, np.uint8(byte))
