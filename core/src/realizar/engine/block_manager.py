"""Which blocks of the paged KV cache belong to whom."""

from __future__ import annotations

from collections import deque


class BlockManager:
    """Hands out blocks of `block_size` tokens and takes them back."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._free = deque(range(num_blocks))

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    def blocks_for(self, num_tokens: int) -> int:
        """How many blocks hold that many tokens."""
        return -(-num_tokens // self.block_size)

    def allocate(self, num_tokens: int) -> list[int] | None:
        """Blocks for that many tokens, or None if there are not enough."""
        count = self.blocks_for(num_tokens)
        if count > len(self._free):
            return None
        return [self._free.popleft() for _ in range(count)]

    def release(self, blocks: list[int]) -> None:
        """Take blocks back; empties the list, so that releasing twice is harmless."""
        self._free.extend(blocks)
        blocks.clear()
