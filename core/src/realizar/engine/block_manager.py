"""Which blocks of the paged KV cache belong to whom."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from realizar.engine.prefix_cache import PrefixCache


class BlockManager:
    """Hands out blocks of `block_size` tokens, shares full ones, and takes them back.

    A block is held by any number of block tables, or free. A free one whose content is published stays as it is until
    its room is needed: first those go that hold nothing of use, then the least recently used.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefixes = PrefixCache(memory=4 * num_blocks)
        self._empty = deque(range(num_blocks))
        self._cached: dict[int, None] = {}
        """Free blocks with published content, the least recently used first."""
        self._holders = [0] * num_blocks

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds, with content or without."""
        return len(self._empty) + len(self._cached)

    @property
    def num_cached(self) -> int:
        """Free blocks with content that may be used again."""
        return len(self._cached)

    def blocks_for(self, num_tokens: int) -> int:
        """How many blocks hold that many tokens."""
        return -(-num_tokens // self.block_size)

    def missing(self, table: Sequence[int], num_tokens: int) -> int:
        """How many blocks `table` lacks for that many tokens."""
        return max(0, self.blocks_for(num_tokens) - len(table))

    def grow(self, table: list[int], num_tokens: int) -> bool:
        """Append blocks until `table` holds that many tokens; False, and nothing done, if there are not enough."""
        count = self.missing(table, num_tokens)
        if count > self.num_free:
            return False
        table += [self._take() for _ in range(count)]
        return True

    def hold(self, blocks: Iterable[int]) -> None:
        """Hold blocks that `prefixes` found."""
        for block in blocks:
            self._cached.pop(block, None)
            self._holders[block] += 1

    def publish(self, block: int, key: bytes, parent: bytes, token_ids: Sequence[int]) -> None:
        """Let others find a block that is held, full and computed."""
        self.prefixes.add(block, key, parent, token_ids)

    def release(self, table: list[int], *, forget: bool = False) -> None:
        """Take blocks back; empties the table, so that releasing twice is harmless.

        The last go first: without what precedes it, a block is of no use. forget: their content is not to be trusted.
        """
        for block in reversed(table):
            if forget:
                self.prefixes.remove(block, evicted=False)
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self.prefixes:
                self._cached[block] = None
            else:
                self._empty.append(block)
        table.clear()

    def forget_all(self) -> None:
        """Let nobody find what any block holds; those that are held stay with their holders."""
        for block in range(self.num_blocks):
            self.prefixes.remove(block, evicted=False)
        self._empty.extend(self._cached)
        self._cached.clear()

    def free_after_holding(self, blocks: Iterable[int]) -> int:
        """How many free blocks would be left if these were held."""
        return self.num_free - sum(block in self._cached for block in blocks)

    def _take(self) -> int:
        if self._empty:
            block = self._empty.popleft()
        else:
            block = next(iter(self._cached))
            del self._cached[block]
            self.prefixes.remove(block, evicted=True)
        self._holders[block] = 1
        return block
