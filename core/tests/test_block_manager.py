"""Blocks are handed out once and come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.engine.block_manager import BlockManager


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (15, 1), (16, 1), (17, 2), (32, 2), (33, 3)])
def test_blocks_for(tokens, blocks):
    assert BlockManager(4, 16).blocks_for(tokens) == blocks


def test_allocates_all_or_nothing():
    manager = BlockManager(3, 4)
    first = manager.allocate(5)
    assert first is not None and len(first) == 2
    assert manager.num_free == 1
    assert manager.allocate(5) is None
    assert manager.num_free == 1
    assert len(manager.allocate(4) or []) == 1
    assert manager.num_free == 0


def test_releasing_twice_is_harmless():
    manager = BlockManager(3, 4)
    blocks = manager.allocate(9)
    assert blocks is not None
    manager.release(blocks)
    manager.release(blocks)
    assert blocks == []
    assert manager.num_free == 3
    assert sorted(manager.allocate(12) or []) == [0, 1, 2]


@given(st.lists(st.integers(0, 40)), st.integers(1, 8))
def test_nobody_shares_a_block(requests, block_size):
    manager = BlockManager(12, block_size)
    held: list[list[int]] = []
    for tokens in requests:
        blocks = manager.allocate(tokens)
        if blocks is None:
            assert -(-tokens // block_size) > manager.num_free
            if held:
                manager.release(held.pop(0))
        else:
            held.append(blocks)
        everyone = [block for blocks in held for block in blocks]
        assert len(everyone) == len(set(everyone)) == 12 - manager.num_free
        assert set(everyone) <= set(range(12))
