"""Which blocks hold the keys and values of which text, and why a prompt found fewer than it could."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from itertools import islice
from typing import Literal

import attrs

Reason = Literal["hit", "off", "short", "every_position", "differs", "evicted", "new"]

_COMPARED = 64
"""Blocks that are looked at for the one that begins most alike."""

_EXPLANATIONS: dict[Reason, str] = {
    "hit": "everything that can be reused was",
    "off": "the prefix cache is off",
    "short": "the prompt is no longer than one block; only full blocks before the last token are reused",
    "every_position": "logits of every position are wanted, so every position is computed",
    "differs": "the prompt differs from the most similar cached text at token",
    "evicted": "room was needed for others: what was cached is gone from token",
    "new": "no cached text goes on as this prompt does from token",
}


@attrs.frozen
class PrefixReport:
    """What the prefix cache had for one prompt.

    reason: why no more of it: "hit" (the whole of what can be reused), "off", "short", "every_position",
    "differs" or "evicted" or "new" from `position` on, the index of a token of the prompt.
    """

    prompt_tokens: int
    cached_tokens: int
    reason: Reason
    position: int | None = None

    def __str__(self) -> str:
        where = "" if self.position is None else f" {self.position}"
        return f"{self.cached_tokens} of {self.prompt_tokens} tokens cached: {_EXPLANATIONS[self.reason]}{where}"


def block_key(parent: bytes, token_ids: Sequence[int]) -> bytes:
    """The key of a full block: SHA-256 over the key of the block before it and its own tokens.

    Equal keys mean equal tokens from the first on, so equal keys and values; nobody can make two texts collide.
    The first block's parent is b"", or whatever else its readers must have in common.
    """
    return hashlib.sha256(parent + array("q", token_ids).tobytes()).digest()


@attrs.frozen
class _Entry:
    block: int
    parent: bytes
    token_ids: tuple[int, ...]


class PrefixCache:
    """An index from keys to blocks; who holds the blocks is not its business.

    memory: how many keys of evicted blocks it remembers, to tell what was evicted from what was never there.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._entries: dict[bytes, _Entry] = {}
        self._key_of: dict[int, bytes] = {}
        self._children: dict[bytes, dict[bytes, None]] = {}
        self._evicted: dict[bytes, None] = {}

    def __contains__(self, block: int) -> bool:
        return block in self._key_of

    def find(self, keys: Sequence[bytes]) -> list[int]:
        """The blocks of the longest known run of `keys` from the first on."""
        blocks = []
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                break
            blocks.append(entry.block)
        return blocks

    def add(self, block: int, key: bytes, parent: bytes, token_ids: Sequence[int]) -> None:
        """Know `block` by its key; where another is known by that key already, that one stays."""
        if key in self._entries:
            return
        self._entries[key] = _Entry(block, parent, tuple(token_ids))
        self._key_of[block] = key
        self._children.setdefault(parent, {})[key] = None
        self._evicted.pop(key, None)

    def remove(self, block: int, *, evicted: bool) -> None:
        """Forget a block, if it is known; evicted: say so when it is asked for again."""
        key = self._key_of.pop(block, None)
        if key is None:
            return
        parent = self._entries.pop(key).parent
        siblings = self._children[parent]
        del siblings[key]
        if not siblings:
            del self._children[parent]
        if evicted:
            self._evicted[key] = None
            while len(self._evicted) > self._memory:
                del self._evicted[next(iter(self._evicted))]

    def explain(self, key: bytes, parent: bytes, token_ids: Sequence[int]) -> tuple[Reason, int]:
        """Why a block is not known, and from which of its tokens on."""
        if key in self._evicted:
            return "evicted", 0
        siblings = islice(reversed(self._children.get(parent, {})), _COMPARED)
        alike = max((_common(self._entries[sibling].token_ids, token_ids) for sibling in siblings), default=None)
        return ("new", 0) if alike is None else ("differs", alike)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two blocks have in common at their beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))
