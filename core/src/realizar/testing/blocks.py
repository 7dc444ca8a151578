"""Random quantized weights of every block type, for kernels' tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from realizar.dtypes import DType
from realizar.errors import FormatError
from realizar.quant.dequantize import dequantize
from realizar.quant.layouts import LAYOUTS, Blocks, ByteArray

_CENTRES = {
    "Q4_1": ("m", -7.5),
    "Q5_1": ("m", -15.5),
    "Q2_K": ("dmin", 1.5),
    "Q4_K": ("dmin", 7.5),
    "Q5_K": ("dmin", 15.5),
}
"""The field that moves the codes' mean to zero, and its value for d = 1."""


def random_blocks(dtype: DType, num_rows: int, num_elements: int, rng: np.random.Generator) -> ByteArray:
    """Rows of random valid blocks, uint8 [num_rows, row_nbytes]: codes uniform, scales finite.

    Every row has its own standard deviation, log-uniform in 0.02 to 1, which its blocks meet as nearly as their scales
    can: MXFP4 within a factor of sqrt 2; NVFP4 has random scales, weights of 0.04 to 3 rms. Half of the scales are
    negative, where a type has signed ones. `s` of Q8_1 and `bsums` of Q8_K agree with the codes.
    Raises FormatError for plain types, and if the rows are not whole blocks.
    """
    if not dtype.is_quantized:
        raise FormatError(f"{dtype.name} has no blocks; take any array of {dtype.storage}")
    row_nbytes = dtype.row_nbytes(num_elements)
    rows = rng.integers(0, 256, (num_rows, row_nbytes), dtype=np.uint8)
    blocks: Blocks = rows.reshape(-1, dtype.block_nbytes).view(LAYOUTS[dtype.name])[:, 0]
    _draw_valid_codes(blocks, dtype.name, rng)
    if dtype.name != "NVFP4":
        _set_scales(blocks, dtype.name, np.ones(len(blocks)))
        unit = dequantize(rows, dtype).reshape(-1, dtype.block_size)
        rms = np.sqrt(np.mean(np.square(unit, dtype=np.float64), axis=1))
        sigma = np.exp(rng.uniform(np.log(0.02), np.log(1.0), (num_rows, 1)))
        signs = rng.choice([-1.0, 1.0], len(blocks))
        _set_scales(blocks, dtype.name, signs * np.repeat(sigma, num_elements // dtype.block_size) / rms)
    _set_sums(blocks, dtype.name)
    return rows


def _draw_valid_codes(blocks: Blocks, name: str, rng: np.random.Generator) -> None:
    """Replace random bytes where not every byte is one that ggml's quantizer writes."""
    shape = (len(blocks),)
    if name == "TQ1_0":  # a byte is a five-digit number in base 3, as a fraction of 243 rounded up to 256ths
        blocks["qs"] = (rng.integers(0, 243, (*shape, 48)) * 256 + 242) // 243
        blocks["qh"] = (rng.integers(0, 81, (*shape, 4)) * 3 * 256 + 242) // 243
    elif name == "TQ2_0":
        blocks["qs"] = (rng.integers(0, 3, (*shape, 64, 4)) << np.array([0, 2, 4, 6])).sum(axis=-1)
    elif name == "NVFP4":  # exponents 1 to 6: scales 2^-6 to 0.94
        blocks["d"] = rng.integers(0x08, 0x38, (*shape, 4))


def _set_scales(blocks: Blocks, name: str, scales: NDArray[Any]) -> None:
    """Write one scale a block [n], in whatever way the type holds it."""
    if name == "MXFP4":
        blocks["e"] = (127 + np.round(np.log2(np.abs(scales))))[:, None]
    elif name == "IQ1_M":  # four nibbles of a float16, in the top nibbles of four words, lowest first
        bits = scales.astype(np.float16).view(np.uint16)[:, None]
        nibbles = (bits >> np.array([0, 4, 8, 12], dtype=np.uint16)) & 15
        blocks["scales"] = (blocks["scales"] & 0x0FFF) | (nibbles << 12)
    else:
        blocks["d"] = scales[:, None]
        if name in _CENTRES:
            field, centre = _CENTRES[name]
            blocks[field] = scales[:, None] * centre


def _set_sums(blocks: Blocks, name: str) -> None:
    """Write the sums of codes that Q8_1 and Q8_K carry for dot products."""
    if name == "Q8_1":
        blocks["s"] = blocks["d"].astype(np.float32) * blocks["qs"].sum(axis=1, keepdims=True, dtype=np.int32)
    elif name == "Q8_K":
        blocks["bsums"] = blocks["qs"].reshape(-1, 16, 16).sum(axis=-1, dtype=np.int16)
