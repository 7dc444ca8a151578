"""Launches of cache_write.cu and attention.cu: templates by head and cache, spans by how many tokens there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from realizar_cuda.constants import Constants
from realizar_cuda.device import Device
from realizar_cuda.heads import HeadsCase
from realizar_cuda.kvcache import LayerCache
from realizar_cuda.staged_step import QUERIES, StagedStep

THREADS, SPAN, MAX_SPLITS = 256, 128, 32

PROMPT_TOKENS = 64
"""Tokens of a step above which attention runs on tensor cores, tile by tile."""

MAX_GROUP_NUMBERS = 1024
"""Numbers of query heads, in all, that one block has in registers."""


@attrs.frozen
class Attributes:
    """Those of the op `attention` that the kernel reads."""

    num_heads: int
    scale: float
    sliding_window: int
    softcap: float
    alibi_slopes: Sequence[float]
    causal: bool


def group_of(heads_per_key: int, head_dim: int) -> int:
    """How many query heads of one key head a block takes: the largest divisor that fits."""
    most = max(1, min(8, MAX_GROUP_NUMBERS // head_dim))
    return max(size for size in range(1, most + 1) if heads_per_key % size == 0)


def splits_of(tiles: int, longest: int, num_processors: int) -> int:
    """Into how many spans a token's positions are cut at most: as many as give every processor two blocks."""
    wanted = max(1, 2 * num_processors // tiles)
    return min(wanted, MAX_SPLITS, -(-longest // SPAN))


class Attention:
    """Launches on one device."""

    def __init__(self, device: Device, constants: Constants) -> None:
        self._device, self._constants = device, constants

    def write(self, k: int, v: int, num_tokens: int, cache: LayerCache, step: StagedStep) -> None:
        """k and v [num_tokens, heads, head_dim], by address, into the step's slots."""
        name = f"cache_write<Kv{cache.kind}, {cache.head_dim}, {cache.block_size}>"
        values = (k, v, step.address("slot_mapping"), *cache.pointers, cache.heads)
        self._device.launch(name, (num_tokens, cache.heads), 32, values)

    def prepare(
        self, case: HeadsCase, q: int, k: int, v: int, num_tokens: int, cache: LayerCache, step: StagedStep
    ) -> None:
        """Norms and rotates q in place and k on its way, and writes k and v into the step's slots."""
        heads = case.num_heads
        name = f"heads<Kv{cache.kind}, {cache.head_dim}, {cache.block_size}>"
        norms = (0 if array is None else int(array.data.ptr) for array in (case.q_norm, case.k_norm))
        frequencies = self._constants.doubles(case.inv_freq) if case.inv_freq else 0
        values = (
            q, k, v, *norms, *cache.pointers, step.address("slot_mapping"), step.address("positions"), frequencies,
            heads, cache.heads, len(case.inv_freq), 0, case.eps, case.scale,
        )  # fmt: skip
        self._device.launch(name, (num_tokens, heads + 2 * cache.heads), 32, values)

    def attend(self, q: int, out: int, num_tokens: int, a: Attributes, cache: LayerCache, step: StagedStep) -> None:
        """q and out [num_tokens, num_heads, head_dim], by address, over keys and values that are in the cache."""
        if num_tokens > PROMPT_TOKENS and cache.kind != "F32":
            self._attend_tiles(q, out, a, cache, step)
            return
        group = group_of(a.num_heads // cache.heads, cache.head_dim)
        tiles = a.num_heads // group
        longest = step.max_blocks * cache.block_size
        splits = splits_of(num_tokens * tiles, longest, self._device.num_processors)
        parts = self._device.scratch("parts", 4 * num_tokens * tiles * splits * group * (cache.head_dim + 2))
        tickets = self._device.scratch("tickets", 4 * num_tokens * tiles)
        name = f"attention<Kv{cache.kind}, {cache.head_dim}, {group}, {cache.block_size}>"
        values = self._values(q, out, a, cache, step, (parts, tickets))
        self._device.launch(name, (num_tokens, tiles, splits), THREADS, values)

    def _attend_tiles(self, q: int, out: int, a: Attributes, cache: LayerCache, step: StagedStep) -> None:
        """Many tokens on tensor cores, which halves are exact enough for unless the cache is F32."""
        stride = -(-cache.head_dim // 16) * 16 + 8
        name = f"prompt_attention<Kv{cache.kind}, {cache.head_dim}, {cache.block_size}>"
        values = (*self._values(q, out, a, cache, step, (0, 0)), step.address("tiles"))
        shared_nbytes = 2 * stride * (2 * QUERIES + 2 * QUERIES)
        self._device.launch(name, (step.num_tiles, a.num_heads), 128, values, shared_nbytes)

    def _values(
        self, q: int, out: int, a: Attributes, cache: LayerCache, step: StagedStep, memory: tuple[int, int]
    ) -> tuple[Any, ...]:
        """`AttentionArguments` of attention.cuh."""
        slopes = self._constants.floats(tuple(a.alibi_slopes)) if a.alibi_slopes else 0
        arrays = (step.address(name) for name in ("sequences", "positions", "context_lens", "block_tables"))
        return (
            q, out, *cache.pointers, *arrays, slopes, *memory, cache.heads, a.num_heads, step.max_blocks,
            a.sliding_window, int(a.causal), 0, a.scale, a.softcap,
        )  # fmt: skip
