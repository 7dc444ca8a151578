"""Codes of 32 columns of 16 rows, as planes of bits: how they are written, read, and loaded 64 at a time.

Chunk c of a block is 64 bytes: columns 4c..4c+3 of 16 rows, four bytes a row. A plane of b bits holds 8 chunks in b
lines of 64 bytes: chunk c lies in line c % b, in bits b (c // b).. of each byte. So one line of nibbles holds columns
4j.. in its low and 16 + 4j.. in its high half, as most of ggml's own blocks do.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from realizar_numba.simd.integer import bit_or, move_bits
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import load_i8x64, load_u8, store_i32
from realizar_numba.simd.targets import Target

LINE = 64

CHUNKS = 8
"""Chunks of a block."""

SIGNED_BIAS = 128
"""With this bias a code of 8 bits is a signed byte with its top bit flipped."""

MAX_NARROW_CODE = 64
"""The largest code of which sums of four products with int8 activations fit in 16 bits."""


@attrs.frozen
class Plane:
    """Bits shift..shift + bits of the codes of a block, `offset` bytes into it."""

    bits: int
    shift: int
    offset: int

    def build_write(self, word: Any) -> Any:
        """write(block, s, quants, row): word(block, s, c) gives a row's codes of chunk c, each a byte of an int32."""
        bits, shift, offset, mask = self.bits, self.shift, self.offset, ((1 << self.bits) - 1) * 0x01010101

        @compiled
        def write(block, s, quants, row):
            for line in range(bits):
                packed = np.int64(0)
                for field in range(8 // bits):
                    codes = np.int64(word(block, s, line + bits * field)) >> shift & mask
                    packed |= codes << (bits * field)
                store_i32(quants + offset + LINE * line + 4 * row, np.int32(packed))

        return write

    def build_read(self) -> Any:
        """read(quants, row, column): these bits of one code, in their place."""
        bits, shift, offset, mask = self.bits, self.shift, self.offset, (1 << self.bits) - 1

        @compiled
        def read(quants, row, column):
            c = column // 4
            byte = np.int32(load_u8(quants + offset + LINE * (c % bits) + 4 * row + column % 4))
            return (byte >> (bits * (c // bits)) & mask) << shift

        return read

    def build_load(self) -> Any:
        """load(quants, c): these bits of the codes of chunk c."""
        bits, shift, offset, mask = self.bits, self.shift, self.offset, ((1 << self.bits) - 1) << self.shift

        @compiled
        def load(quants, c):
            return move_bits(load_i8x64(quants + offset + LINE * (c % bits)), bits * (c // bits), shift, mask)

        return load


def planes(*bits: int) -> tuple[Plane, ...]:
    """Planes one after another, the lowest bits of the codes first."""
    made: list[Plane] = []
    for count in bits:
        made.append(Plane(count, sum(plane.bits for plane in made), LINE * sum(plane.bits for plane in made)))
    return tuple(made)


@attrs.frozen
class Codes:
    """One plane or two; a weight is proportional to code - bias.

    table: what codes of up to 4 bits stand for, plus bias; empty if they stand for themselves.
    Raises ValueError for codes that no dot product takes: larger than MAX_NARROW_CODE without the bias of signed bytes.
    """

    planes: tuple[Plane, ...]
    bias: int = 0
    table: tuple[int, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.max_code > MAX_NARROW_CODE and self.bias != SIGNED_BIAS:
            raise ValueError(f"codes up to {self.max_code} need the bias {SIGNED_BIAS}, not {self.bias}")

    @property
    def nbytes(self) -> int:
        """Bytes of 32 columns of 16 rows."""
        return LINE * sum(plane.bits for plane in self.planes)

    @property
    def max_code(self) -> int:
        """The largest code that a dot product meets."""
        return max(self.table) if self.table else sum((1 << plane.bits) - 1 << plane.shift for plane in self.planes)

    def build_write(self, word: Any) -> Any:
        """As of a plane, for all of them."""
        first, second = (plane.build_write(word) for plane in (self.planes[0], self.planes[-1]))
        if len(self.planes) == 1:
            return first

        @compiled
        def write(block, s, quants, row):
            first(block, s, quants, row)
            second(block, s, quants, row)

        return write

    def build_read(self) -> Any:
        """read(quants, row, column): one code, less its bias."""
        first, second = (plane.build_read() for plane in (self.planes[0], self.planes[-1]))
        bias, table = self.bias, np.array(self.table or range(256), np.int32)

        @compiled
        def read(quants, row, column):
            return table[first(quants, row, column) | second(quants, row, column)] - bias

        return read

    def build_load(self, target: Target) -> Any:
        """load(quants, c): the codes of chunk c as a vector of unsigned bytes."""
        load = self._build_load_bits()
        if not self.table:
            return load
        lookup = target.lookup((*self.table, *[0] * (16 - len(self.table))))

        @compiled
        def load_from_table(quants, c):
            return lookup(load(quants, c))

        return load_from_table

    def _build_load_bits(self) -> Any:
        """As above, before any table."""
        first, second = (plane.build_load() for plane in (self.planes[0], self.planes[-1]))
        if len(self.planes) == 1:
            return first

        @compiled
        def load(quants, c):
            return bit_or(first(quants, c), second(quants, c))

        return load
