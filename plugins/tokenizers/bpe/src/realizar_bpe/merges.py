"""The merge loop: of all adjacent pairs, the one learnt first is joined, the leftmost first; until none is left.

Source: Sennrich, Haddow, Birch 2016, "Neural Machine Translation of Rare Words with Subword Units".
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise

UNRANKED = 1 << 62
"""The rank of a pair that is no merge; beyond any real rank."""


def merge(symbols: Sequence[str], ranks: Mapping[str, int], skipped: int = 0) -> list[str]:
    """`symbols` after all merges. ranks: "left right" -> position in the merge table. skipped: characters that the
    right one of a pair loses. O(n log n) for n symbols.

    A heap of (rank, position), packed into one integer, over a doubly linked list in arrays. An entry of the heap is
    stale when the pair that now starts at its position has another rank.
    """
    count = len(symbols)
    pieces = list(symbols)
    following = list(range(1, count + 1))
    previous = list(range(-1, count - 1))
    pair_ranks = [ranks.get(f"{left} {right}", UNRANKED) for left, right in pairwise(pieces)]
    pair_ranks.append(UNRANKED)
    heap = [rank * count + i for i, rank in enumerate(pair_ranks) if rank != UNRANKED]
    heapq.heapify(heap)
    while heap:
        rank, i = divmod(heapq.heappop(heap), count)
        if pair_ranks[i] != rank:
            continue
        absorbed = following[i]
        joined = pieces[i] = pieces[i] + pieces[absorbed][skipped:]
        pieces[absorbed] = ""
        pair_ranks[absorbed] = UNRANKED
        after = following[i] = following[absorbed]
        new_rank = UNRANKED
        if after < count:
            previous[after] = i
            new_rank = ranks.get(f"{joined} {pieces[after]}", UNRANKED)
            if new_rank != UNRANKED:
                heapq.heappush(heap, new_rank * count + i)
        pair_ranks[i] = new_rank
        before = previous[i]
        if before >= 0:
            pair_ranks[before] = new_rank = ranks.get(f"{pieces[before]} {joined}", UNRANKED)
            if new_rank != UNRANKED:
                heapq.heappush(heap, new_rank * count + before)
    return [piece for piece in pieces if piece]
