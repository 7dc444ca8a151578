"""Where ggml's blocks keep grid points, signs and scales: readers as in `realizar_numba.weights.words`, for IQ1 to IQ3.

A code is the number of a level of the grid, and above it one bit: minus, or for IQ1 the direction of the shift.
Source: ggml-common.h, struct definitions `block_iq*`; ggml-quants.c, `dequantize_row_iq*`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from realizar.quant.iq_grids import grid
from realizar_numba.simd.jit import compiled
from realizar_numba.simd.memory import load_i16, load_u8
from realizar_numba.weights.words import BITS, spread, u32

_EVEN_SIGNS = np.array([code | code.bit_count() % 2 << 7 for code in range(128)], np.uint8)
"""Signs of 8 columns by the first 7 of them: the number of minus signs is even."""


LEVELS = {
    "iq1": (-1, 0, 1),
    "iq2": (8, 25, 43),
    "iq3_xxs": (4, 12, 20, 28, 36, 44, 52, 62),
    "iq3_s": (1, 3, 5, 7, 9, 11, 13, 15),
}
"""What the level numbers of a family of grids stand for; ggml-common.h."""


def _points(name: str, levels: tuple[int, ...]) -> Any:
    """point(index, c): level numbers of columns 4c..4c+3, which lie in that point of a grid, as four bytes."""
    points = grid(name)
    words_per_point = points.shape[1] // 4
    words = np.searchsorted(np.array(levels, np.float32), points).astype(np.uint8).view("<u4").ravel()

    @compiled
    def point(index, c):
        return np.int64(words[words_per_point * index + c % words_per_point])

    return point


_iq1 = _points("iq1", LEVELS["iq1"])
_iq2_xxs, _iq2_xs, _iq2_s = (_points(name, LEVELS["iq2"]) for name in ("iq2_xxs", "iq2_xs", "iq2_s"))
_iq3_xxs, _iq3_s = _points("iq3_xxs", LEVELS["iq3_xxs"]), _points("iq3_s", LEVELS["iq3_s"])


@compiled
def _u16(address):
    """Two bytes as a non-negative int64."""
    return np.int64(load_i16(address)) & 0xFFFF


@compiled
def _minus(signs, c):
    """Signs of columns 4c..4c+3, one in each byte, from those of 8 columns."""
    return spread(np.int64(signs) >> (4 * (c % 2)) & 15)


@compiled
def _even_minus(codes, c):
    """The same from 7-bit codes of 8 columns each, one after another."""
    return _minus(_EVEN_SIGNS[codes >> (7 * (c // 2)) & 127], c)


@compiled
def iq1_s(block, s, c):
    """Index bytes at 2; for each sub-block 16 bits at 34, with four times 3 more index bits and on top the shift."""
    high = _u16(block + 34 + 2 * s)
    index = load_u8(block + 2 + 4 * s + c // 2) | (high >> (3 * (c // 2)) & 7) << 8
    return _iq1(index, c) | (high >> 15) * (BITS << 2)


@compiled
def iq1_s_scale(block, s):
    """Three of the 16 bits for each sub-block at 34."""
    return _u16(block + 34 + 2 * s) >> 12 & 7


@compiled
def iq1_m(block, s, c):
    """Index bytes at 0; in nibbles at 32, 3 more index bits and the shift."""
    i = 4 * s + c // 2
    high = np.int64(load_u8(block + 32 + i // 2)) >> (4 * (i % 2)) & 15
    return _iq1(load_u8(block + i) | (high & 7) << 8, c) | (high >> 3) * (BITS << 2)


@compiled
def iq1_m_scale(block, k):
    """Four times 3 bits in each of four 16-bit words at 48."""
    return _u16(block + 48 + 2 * (k // 4)) >> (3 * (k % 4)) & 7


@compiled
def iq1_m_d(block):
    """A float16 in the top nibbles of the same words, the lowest first."""
    d = 0
    for i in range(4):
        d |= (_u16(block + 48 + 2 * i) >> 12) << (4 * i)
    return np.int16(d)


@compiled
def iq2_xxs(block, s, c):
    """For each sub-block at 2, four index bytes, then 32 bits: four 7-bit codes of signs and a scale."""
    group = block + 2 + 8 * s
    return _iq2_xxs(load_u8(group + c // 2), c) | _even_minus(u32(group + 4), c) << 2


@compiled
def iq2_xs(block, s, c):
    """16-bit words at 2: a 9-bit index and a 7-bit code of signs."""
    word = _u16(block + 2 + 2 * (4 * s + c // 2))
    return _iq2_xs(word & 511, c) | _minus(_EVEN_SIGNS[word >> 9], c) << 2


@compiled
def iq2_s(block, s, c):
    """Index bytes at 2, sign bytes at 34, 2 more index bits at 66."""
    i = 4 * s + c // 2
    high = np.int64(load_u8(block + 66 + s)) >> (2 * (c // 2)) & 3
    return _iq2_s(load_u8(block + 2 + i) | high << 8, c) | _minus(load_u8(block + 34 + i), c) << 2


@compiled
def iq3_xxs(block, s, c):
    """Index bytes at 2, each for 4 columns; for each sub-block 32 bits at 66: four 7-bit codes of signs and a scale."""
    return _iq3_xxs(load_u8(block + 2 + 8 * s + c), c) | _even_minus(u32(block + 66 + 4 * s), c) << 3


@compiled
def iq3_s(block, s, c):
    """Index bytes at 2, each for 4 columns; one more index bit at 66; sign bytes at 74."""
    high = np.int64(load_u8(block + 66 + s)) >> c & 1
    return _iq3_s(load_u8(block + 2 + 8 * s + c) | high << 8, c) | _minus(load_u8(block + 74 + 4 * s + c // 2), c) << 3


def top_nibbles(offset: int, stride: int) -> Any:
    """IQ2_XXS, IQ3_XXS: the top 4 of 32 bits for each sub-block."""

    @compiled
    def scale(block, s):
        return u32(block + offset + stride * s) >> 28

    return scale


def nibbles(offset: int) -> Any:
    """IQ2_XS, IQ2_S, IQ3_S: low nibbles first."""

    @compiled
    def scale(block, k):
        return np.int64(load_u8(block + offset + k // 2)) >> (4 * (k % 2)) & 15

    return scale
