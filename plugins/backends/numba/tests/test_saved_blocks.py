"""Blocks of the cache as bytes: what is read is what is written back, elsewhere too."""

from __future__ import annotations

import numpy as np
import pytest

from realizar.backend import CacheSpec
from realizar_numba.kvcache import make_layers, read_blocks, write_blocks


@pytest.mark.parametrize("block_size", [16, 32])
@pytest.mark.parametrize("kv_type", ["F16", "F32", "Q8_0"])
def test_blocks_move(kv_type, block_size):
    spec = CacheSpec(((2, 40), (1, 64)), 5, block_size, kv_type)
    one, other = make_layers(spec), make_layers(spec)
    rng = np.random.default_rng(0)
    for layer in one:
        for part in (layer.keys, layer.values):
            part[:] = rng.integers(0, 256, part.shape)
    content = read_blocks(one, [4, 0, 2])
    assert content.shape == (3, sum(part.nbytes for layer in one for part in (layer.keys, layer.values)) // 5)
    write_blocks(other, [1, 3, 0], content)
    assert np.array_equal(read_blocks(other, [1, 3, 0]), content)
    assert not read_blocks(other, [2, 4]).any()
    for mine, theirs in zip(one, other, strict=True):
        head = mine.keys.reshape(mine.num_key_value_heads, 5, -1)[-1, 4]
        assert np.array_equal(theirs.keys.reshape(mine.num_key_value_heads, 5, -1)[-1, 1], head)
