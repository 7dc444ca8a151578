"""Random k-quant blocks with the scales of a trained model: made as bytes, a thousand times faster than quantizing.

Layouts: ggml `ggml-common.h`, `block_q4_K` and `block_q6_K`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realizar.quant.layouts import LAYOUTS

# Standard deviations of uniform codes, and a scale in the middle of those drawn below.
_CODE_DEVIATION = {"Q4_K": np.sqrt((16**2 - 1) / 12), "Q6_K": np.sqrt((64**2 - 1) / 12)}
_MIDDLE_SCALE = {"Q4_K": 47.5, "Q6_K": 95.5}


def random_rows(name: str, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Stored rows of a Q4_K or Q6_K matrix of that shape: mean 0, variance about 1 / columns, no scale zero."""
    rows, columns = shape
    count = rows * columns // 256
    blocks = rng.integers(0, 256, count * LAYOUTS[name].itemsize, np.uint8).view(LAYOUTS[name])
    d = columns**-0.5 / _CODE_DEVIATION[name] / _MIDDLE_SCALE[name]
    blocks["d"] = rng.uniform(0.8 * d, 1.2 * d, (count, 1))
    if name == "Q4_K":
        blocks["dmin"] = 7.5 * blocks["d"]  # codes are 0 to 15: with equal scales this centres them
        blocks["scales"] = _packed(rng.integers(32, 64, (count, 8), np.uint8))
    else:
        blocks["scales"] = rng.integers(64, 128, (count, 16), np.int8) * rng.choice(
            np.array([-1, 1], np.int8), (count, 16)
        )
    return blocks.view(np.uint8).reshape(rows, -1)


def _packed(scales: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Eight 6-bit scales, and the same again as minimums, in 12 bytes."""
    low, high = scales[:, :4], scales[:, 4:]
    first = low | (high >> 4) << 6
    return np.concatenate([first, first, (high & 15) | (high & 15) << 4], axis=1)
