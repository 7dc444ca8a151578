"""Where ggml's blocks keep their codes: `word(block, s, c)` gives those of columns 4c..4c+3 as four bytes.

block is the address of one row's block in the file; s counts its sub-blocks of 32 columns. Source: ggml-common.h,
struct definitions `block_*`; ggml-quants.c, `dequantize_row_*` (order of the codes).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import load_i8, load_i16, load_i32, load_u8

NIBBLES, PAIRS, BITS = 0x0F0F0F0F, 0x03030303, 0x01010101
_POWERS_OF_3 = (1, 3, 9, 27, 81)


@compiled
def u32(address):
    """Four bytes as a non-negative int64."""
    return np.int64(load_i32(address)) & 0xFFFFFFFF


@compiled
def spread(bits):
    """Four bits, one in each byte."""
    return bits * 0x00204081 & BITS


def nibbles(offset: int) -> Any:
    """Q4_0, Q4_1, IQ4_NL, MXFP4: 16 bytes, columns 0-15 low and 16-31 high."""

    @compiled
    def word(block, s, c):
        return u32(block + offset + 4 * (c % 4)) >> (4 * (c // 4)) & NIBBLES

    return word


def nibbles_and_bits(offset: int, bits_offset: int) -> Any:
    """Q5_0, Q5_1: the same and 4 bytes of fifth bits, one for each column in order."""
    low = nibbles(offset)

    @compiled
    def word(block, s, c):
        return low(block, s, c) | spread(u32(block + bits_offset) >> (4 * c) & 15) << 4

    return word


def bytes_at(offset: int) -> Any:
    """Q8_0: 32 signed bytes, here with the top bit flipped."""

    @compiled
    def word(block, s, c):
        return u32(block + offset + 4 * c) ^ 0x80808080

    return word


@compiled
def nvfp4(block, s, c):
    """32 bytes at 4: each 8 of them hold 16 columns, the first 8 low."""
    return u32(block + 4 + 16 * s + 8 * (c // 4) + 4 * (c % 2)) >> (4 * (c % 4 // 2)) & NIBBLES


@compiled
def q1_0(block, s, c):
    """16 bytes at 2, one bit for each column in order, here in bit 1."""
    return spread(u32(block + 2 + 4 * s) >> (4 * c) & 15) << 1


@compiled
def q2_0(block, s, c):
    """16 bytes at 2, two bits for each column in order."""
    byte = np.int64(load_u8(block + 2 + 8 * s + c))
    return (byte | byte << 6 | byte << 12 | byte << 18) & PAIRS


@compiled
def _digits(fractions, index):
    """A base-3 digit of each of four bytes: a byte b stands for b / 256, the whole part of 3 b / 256 is its digit 0."""
    power = _POWERS_OF_3[index]
    even, odd = fractions & 0x00FF00FF, fractions >> 8 & 0x00FF00FF
    even, odd = (even * power & 0x00FF00FF) * 3 >> 8, (odd * power & 0x00FF00FF) * 3 >> 8
    return even & 0x00030003 | (odd & 0x00030003) << 8


@compiled
def tq1_0(block, s, c):
    """Base 3: 32 bytes with five digits of sub-blocks 0-4, 16 bytes with five runs of 16 columns, 4 with four of 4."""
    chunk = 8 * (s - 5) + c
    if s < 5:
        return _digits(u32(block + 4 * c), s)
    if chunk < 20:
        return _digits(u32(block + 32 + 4 * (chunk % 4)), chunk // 4)
    return _digits(u32(block + 48), chunk - 20)


@compiled
def iq4_xs(block, s, c):
    """128 bytes at 8: each 16 of them a block of nibbles as in IQ4_NL."""
    return u32(block + 8 + 16 * s + 4 * (c % 4)) >> (4 * (c // 4)) & NIBBLES


@compiled
def iq4_xs_scale(block, s):
    """s of 6 bits, less 32: low nibbles in bytes 4-7, top 2 bits in the 16 bits at 2."""
    low, high = np.int64(load_u8(block + 4 + s // 2)), np.int64(load_i16(block + 2)) & 0xFFFF
    return (low >> (4 * (s % 2)) & 15 | (high >> (2 * s) & 3) << 4) - 32


def pairs(offset: int) -> Any:
    """Q2_K, TQ2_0: 64 bytes, each 32 of them hold 4 sub-blocks, 2 bits each."""

    @compiled
    def word(block, s, c):
        return u32(block + offset + 32 * (s // 4) + 4 * c) >> (2 * (s % 4)) & PAIRS

    return word


_q3_k_pairs = pairs(32)


@compiled
def q3_k(block, s, c):
    """Low 2 bits as in Q2_K, at 32; the third bit is bit s of 32 bytes at 0."""
    return _q3_k_pairs(block, s, c) | (u32(block + 4 * c) >> s & BITS) << 2


@compiled
def q3_k_scale(block, k):
    """s of 6 bits, less 32: low nibbles in 8 bytes at 96, top 2 bits in the 4 bytes behind them."""
    low, high = np.int64(load_u8(block + 96 + k % 8)), np.int64(load_u8(block + 104 + k % 4))
    return (low >> (4 * (k // 8)) & 15 | (high >> (2 * (k // 4)) & 3) << 4) - 32


@compiled
def q4_k(block, s, c):
    """128 bytes at 16: each 32 of them hold two sub-blocks, low and high nibbles."""
    return u32(block + 16 + 32 * (s // 2) + 4 * c) >> (4 * (s % 2)) & NIBBLES


@compiled
def q5_k(block, s, c):
    """Nibbles as in Q4_K, at 48; the fifth bit is bit s of 32 bytes at 16."""
    low = u32(block + 48 + 32 * (s // 2) + 4 * c) >> (4 * (s % 2)) & NIBBLES
    return low | (u32(block + 16 + 4 * c) >> s & BITS) << 4


@compiled
def q4_k_scales(block, s):
    """s + 256 m, both of 6 bits, from 12 bytes at 4.

    Sub-blocks 0-3: low 6 bits of bytes 0-3 (s) and 4-7 (m). Sub-blocks 4-7: low and high nibbles of bytes 8-11, and
    above them the top 2 bits of bytes 0-3 and 4-7.
    """
    first, second = np.int64(load_u8(block + 4 + s % 4)), np.int64(load_u8(block + 8 + s % 4))
    if s < 4:
        return first & 63 | (second & 63) << 8
    both = np.int64(load_u8(block + 8 + s))
    return both & 15 | first >> 6 << 4 | (both >> 4 | second >> 6 << 4) << 8


@compiled
def q6_k(block, s, c):
    """Low nibbles in 128 bytes (each 64 hold 4 sub-blocks), top 2 bits in 64 bytes at 128 (each 32 hold 4)."""
    low = u32(block + 64 * (s // 4) + 32 * (s % 2) + 4 * c) >> (4 * (s % 4 // 2)) & NIBBLES
    return low | (u32(block + 128 + 32 * (s // 4) + 4 * c) >> (2 * (s % 4)) & PAIRS) << 4


@compiled
def q6_k_scale(block, k):
    """16 signed bytes at 192."""
    return np.int64(load_i8(block + 192 + k))
