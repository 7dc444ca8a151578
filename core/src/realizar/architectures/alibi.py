"""Slopes of linear biases: positions as a penalty on distance, instead of a rotation."""

from __future__ import annotations

import math

from realizar.model import ModelConfig


def alibi_slopes(config: ModelConfig) -> tuple[float, ...]:
    """One slope a head, 2^(-m i/n) for i = 1..n and m = alibi_bias_max, times alibi_multiplier; () for none.

    n is the largest power of two up to the number of heads; the heads beyond take every other slope of 2n.
    Source: Press et al. 2021, arXiv:2108.12409, section 3 and the authors' code for other numbers of heads.
    """
    if config.alibi_bias_max is None:
        return ()
    heads, largest = config.num_attention_heads, config.alibi_bias_max
    n = 1 << int(math.log2(heads))
    first = [2.0 ** (-largest * i / n) for i in range(1, n + 1)]
    between = [2.0 ** (-largest * i / (2 * n)) for i in range(1, 2 * n, 2)]
    return tuple(config.alibi_multiplier * slope for slope in (first + between)[:heads])
