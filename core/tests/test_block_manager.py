"""Blocks are held by whom they were given to, shared when published, and come back."""

from __future__ import annotations

import pytest

from realizar.engine.block_manager import BlockManager
from realizar.engine.prefix_cache import block_key


def publish(manager: BlockManager, table: list[int], text: str) -> list[bytes]:
    """Publish the blocks of a table as those of a text of 4 tokens a block."""
    keys, parent = [], b""
    for i, block in enumerate(table):
        tokens = [ord(char) for char in text[4 * i : 4 * i + 4]]
        keys.append(block_key(parent, tokens))
        manager.publish(block, keys[-1], parent, tokens)
        parent = keys[-1]
    return keys


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (15, 1), (16, 1), (17, 2), (32, 2), (33, 3)])
def test_blocks_for(tokens, blocks):
    assert BlockManager(4, 16).blocks_for(tokens) == blocks


def test_grows_all_or_nothing():
    manager, table, other = BlockManager(3, 4), [], []
    assert manager.grow(table, 5)
    assert (len(table), manager.num_free) == (2, 1)
    assert manager.grow(table, 8)
    assert len(table) == 2
    assert not manager.grow(other, 5)
    assert (other, manager.num_free) == ([], 1)
    assert manager.grow(table, 9)
    assert (sorted(table), manager.num_free) == ([0, 1, 2], 0)
    assert manager.grow(table, 1)
    assert len(table) == 3


def test_releasing_twice_is_harmless():
    manager, table = BlockManager(3, 4), []
    manager.grow(table, 9)
    manager.release(table)
    manager.release(table)
    assert (table, manager.num_free, manager.num_cached) == ([], 3, 0)


def test_published_blocks_are_found_in_a_row():
    manager, table = BlockManager(8, 4), []
    manager.grow(table, 12)
    keys = publish(manager, table, "abcdefghijkl")
    assert manager.prefixes.find(keys) == table
    assert manager.prefixes.find(keys[:2]) == table[:2]
    assert manager.prefixes.find([b"other", *keys]) == []
    assert manager.prefixes.find([keys[0], b"other", keys[2]]) == table[:1]


def test_a_shared_block_is_free_when_all_have_let_go():
    manager, table = BlockManager(3, 4), []
    manager.grow(table, 4)
    (key,) = publish(manager, table, "abcd")
    shared = manager.prefixes.find([key])
    manager.hold(shared)
    manager.release(table)
    assert (manager.num_free, manager.num_cached) == (2, 0)
    manager.release(shared)
    assert (manager.num_free, manager.num_cached) == (3, 1)
    again = manager.prefixes.find([key])
    manager.hold(again)
    assert (manager.num_free, manager.num_cached) == (2, 0)


def test_what_holds_nothing_goes_before_what_is_cached():
    manager, cached, plain = BlockManager(4, 4), [], []
    manager.grow(cached, 8)
    manager.grow(plain, 8)
    keys, blocks = publish(manager, cached, "abcdefgh"), list(cached)
    manager.release(cached)
    manager.release(plain)
    table: list[int] = []
    manager.grow(table, 8)
    assert manager.prefixes.find(keys) == blocks
    manager.grow(table, 12)
    assert manager.prefixes.find(keys) == blocks[:1]  # the tail goes first
    manager.grow(table, 16)
    assert manager.prefixes.find(keys) == []


def test_the_least_recently_used_is_evicted():
    manager, first, second = BlockManager(2, 4), [], []
    manager.grow(first, 4)
    manager.grow(second, 4)
    (a,), (b,) = publish(manager, first, "aaaa"), publish(manager, second, "bbbb")
    manager.release(first)
    manager.release(second)
    used = manager.prefixes.find([a])
    manager.hold(used)
    manager.release(used)
    manager.grow(table := [], 4)
    assert (len(manager.prefixes.find([a])), manager.prefixes.find([b])) == (1, [])
    assert len(table) == 1


def test_one_of_equal_blocks_is_known():
    manager, first, second = BlockManager(4, 4), [], []
    manager.grow(first, 4)
    manager.grow(second, 4)
    (key,) = publish(manager, first, "aaaa")
    publish(manager, second, "aaaa")
    assert manager.prefixes.find([key]) == first
    manager.release(second)
    assert manager.num_cached == 0


def test_what_is_not_to_be_trusted_is_found_by_nobody():
    manager, table = BlockManager(4, 4), []
    manager.grow(table, 8)
    keys = publish(manager, table, "abcdefgh")
    other = manager.prefixes.find(keys[:1])
    manager.hold(other)
    manager.release(table, forget=True)
    assert manager.prefixes.find(keys) == []
    assert (manager.num_free, manager.num_cached) == (3, 0)
    manager.release(other)
    assert (manager.num_free, manager.num_cached) == (4, 0)


def test_room_left_when_found_blocks_are_held():
    manager, table, held = BlockManager(4, 4), [], []
    manager.grow(table, 8)
    manager.grow(held, 4)
    found = list(table)
    publish(manager, table, "abcdefgh")
    manager.release(table)
    assert manager.free_after_holding(found) == 1
    assert manager.free_after_holding([*found, *held]) == 1


def test_what_is_forgotten_is_found_by_nobody_and_lost_by_nobody():
    manager, table, held = BlockManager(4, 4), [], []
    manager.grow(table, 8)
    manager.grow(held, 4)
    keys = publish(manager, table, "abcdefgh")
    others = publish(manager, held, "wxyz")
    manager.release(table)
    assert (manager.num_free, manager.num_cached) == (3, 2)
    manager.forget_all()
    assert (manager.num_free, manager.num_cached) == (3, 0)
    assert manager.prefixes.find(keys) == manager.prefixes.find(others) == []
    assert len(held) == 1
    manager.release(held)
    assert manager.num_free == 4
    assert manager.grow(table, 16)
