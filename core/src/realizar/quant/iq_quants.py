"""Vectors looked up in a table of grid points, and non-linear 4-bit codes: IQ1_S to IQ4_XS.

Each function takes blocks [n] of its layout and returns float32 [n, block_size].
Source: ggml `ggml-quants.c`, `dequantize_row_iq*`. Grids: `iq_grids.py`.
"""

from __future__ import annotations

import numpy as np

from realizar.quant.iq_grids import grid
from realizar.quant.layouts import Array, Blocks, Float32Array
from realizar.quant.packing import scale_of, scaled, unpack

IQ1_DELTA = np.float32(0.125)
"""How far IQ1 grid points are shifted, up or down."""

IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32)
"""What each IQ4 code stands for: ggml `kvalues_iq4nl`."""


def _signs(masks: Array) -> Float32Array:
    """+1 or -1 for each bit of the sign bytes: [n, ...] uint8 to float32 [n, elements]; a one bit means minus."""
    return 1 - 2 * unpack(masks.reshape(len(masks), -1), bits=1, run=1).astype(np.float32)


def _even_signs(codes: Array) -> Float32Array:
    """Signs of 8 elements out of a 7-bit code: the eighth makes the number of minus signs even."""
    parity = np.bitwise_count(codes) & 1
    return _signs((codes | (parity << 7)).astype(np.uint8))


def _four_seven_bit_codes(words: Array) -> Array:
    """The four 7-bit codes in the low 28 bits of uint32 words: [n, k] to [n, k, 4]."""
    return (words[..., None] >> np.array([0, 7, 14, 21], dtype=np.uint32)) & 127


def _points(name: str, indices: Array) -> Float32Array:
    """Grid points of the indices [n, k], as float32 [n, k * dimensions]."""
    return grid(name)[indices].reshape(len(indices), -1)


def iq1_s(blocks: Blocks) -> Float32Array:
    """w = d (2 s + 1) (grid ± 1/8): 11-bit indices; a word of `qh` has four times 3 index bits, 3 bits s, the sign."""
    qh = blocks["qh"]
    high = (qh[..., None] >> np.array([0, 3, 6, 9], dtype=np.uint16)) & 7
    points = _points("iq1", blocks["qs"] | (high << 8).reshape(len(blocks), -1))
    delta = np.where(qh & 0x8000, -IQ1_DELTA, IQ1_DELTA)
    scales = scale_of(blocks) * (2 * ((qh >> 12) & 7) + 1)
    return scaled(scales, points.reshape(len(blocks), 8, 32) + delta[..., None])


def iq1_m(blocks: Blocks) -> Float32Array:
    """w = d (2 s + 1) (grid ± 1/8): a nibble of `qh` has 3 index bits and the sign; 3-bit s for 16 elements.

    The top nibbles of the four `scales` words are the float16 d.
    """
    words = blocks["scales"]
    d = np.bitwise_or.reduce((words >> 12) << np.array([0, 4, 8, 12], dtype=np.uint16), axis=1).astype(np.uint16)
    codes = (words[..., None] >> np.array([0, 3, 6, 9], dtype=np.uint16)) & 7
    scales = d.view(np.float16).astype(np.float32)[:, None] * (2 * codes.reshape(len(blocks), -1) + 1)
    qh = unpack(blocks["qh"], bits=4, run=1)
    points = _points("iq1", blocks["qs"] | ((qh & 7).astype(np.uint16) << 8))
    delta = np.where(qh & 8, -IQ1_DELTA, IQ1_DELTA)
    return scaled(scales, points.reshape(len(blocks), 32, 8) + delta[..., None])


def iq2_xxs(blocks: Blocks) -> Float32Array:
    """w = d (s + 1/2) / 4 * ± grid: for 32 elements four index bytes and a word of four sign codes and a 4-bit s."""
    groups = blocks["qs"].reshape(len(blocks), 8, 8)
    words = np.ascontiguousarray(groups[..., 4:]).view("<u4")[..., 0]
    scales = scale_of(blocks) * (np.float32(0.5) + (words >> 28).astype(np.float32)) * np.float32(0.25)
    points = _points("iq2_xxs", groups[..., :4].reshape(len(blocks), -1))
    return scaled(scales, points * _even_signs(_four_seven_bit_codes(words)))


def _nibble_scales(blocks: Blocks) -> Float32Array:
    """d (s + 1/2) / 4 for each nibble s of `scales`."""
    return scale_of(blocks) * (np.float32(0.5) + unpack(blocks["scales"], bits=4, run=1)) * np.float32(0.25)


def iq2_xs(blocks: Blocks) -> Float32Array:
    """w = d (s + 1/2) / 4 * ± grid: a word has a 9-bit index and a 7-bit sign code; 4-bit s for 16 elements."""
    points = _points("iq2_xs", blocks["qs"] & 511)
    return scaled(_nibble_scales(blocks), points * _even_signs(blocks["qs"] >> 9))


def iq2_s(blocks: Blocks) -> Float32Array:
    """w = d (s + 1/2) / 4 * ± grid: 10-bit indices (2 bits in `qh`), all signs given; 4-bit s for 16 elements."""
    high = unpack(blocks["qh"], bits=2, run=1).astype(np.uint16)
    return scaled(_nibble_scales(blocks), _points("iq2_s", blocks["qs"] | (high << 8)) * _signs(blocks["signs"]))


def iq3_xxs(blocks: Blocks) -> Float32Array:
    """w = d (s + 1/2) / 2 * ± grid: an index byte for 4 elements, a word of four sign codes and a 4-bit s for 32."""
    words = blocks["signs"]
    scales = scale_of(blocks) * (np.float32(0.5) + (words >> 28).astype(np.float32)) * np.float32(0.5)
    return scaled(scales, _points("iq3_xxs", blocks["qs"]) * _even_signs(_four_seven_bit_codes(words)))


def iq3_s(blocks: Blocks) -> Float32Array:
    """w = d (2 s + 1) * ± grid: 9-bit indices (1 bit in `qh`) for 4 elements, all signs given; 4-bit s for 32."""
    high = unpack(blocks["qh"], bits=1, run=1).astype(np.uint16)
    scales = scale_of(blocks) * (2 * unpack(blocks["scales"], bits=4, run=1) + 1)
    return scaled(scales, _points("iq3_s", blocks["qs"] | (high << 8)) * _signs(blocks["signs"]))


def iq4_nl(blocks: Blocks) -> Float32Array:
    """w = d v(q), 4-bit q."""
    return scale_of(blocks) * IQ4_VALUES[unpack(blocks["qs"], bits=4, run=16)]


def iq4_xs(blocks: Blocks) -> Float32Array:
    """w = d (s - 32) v(q): 4-bit q, 8 groups of 32, 6-bit s with its top 2 bits in `scales_h`."""
    codes = unpack(blocks["scales_l"], bits=4, run=1) | (unpack(blocks["scales_h"], bits=2, run=1) << 4)
    scales = scale_of(blocks) * (codes.astype(np.int8) - 32)
    return scaled(scales, IQ4_VALUES[unpack(blocks["qs"], bits=4, run=16)])
