"""BPE by scores: of all adjacent pairs whose joined piece is in the vocabulary, the best scored is joined, the
leftmost first; until none is left. Or by a table of merges: of all pairs in the table, the first.

Source: SentencePiece's BPE model, which llama.cpp calls SPM. Hugging Face writes the same as a table.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

UNRANKED = 1 << 62
"""The rank of a text that is no piece; beyond any real rank."""


def ranks_by_score(scores: Mapping[str, float]) -> dict[str, int]:
    """The place of each piece's score among all scores, the best first; equal scores share a place."""
    places = {score: rank for rank, score in enumerate(sorted(set(scores.values()), reverse=True))}
    return {piece: places[score] for piece, score in scores.items()}


def merge(word: str, ranks: Mapping[str, int], unused: Collection[str] = (), between: str = "") -> list[str]:
    """`word` after all merges. ranks: left + between + right -> place, the lowest first. O(n log n) for n characters.

    A heap of (rank, position), packed into one integer, over a doubly linked list in arrays. An entry of the heap is
    stale when the pair that now starts at its position has another rank.
    unused: pieces that only lead to longer ones; one that is left falls apart into the pair it was last seen as.
    """
    count = len(word)
    pieces = list(word)
    following = list(range(1, count + 1))
    previous = list(range(-1, count - 1))
    pair_ranks = [ranks.get(left + between + right, UNRANKED) for left, right in pairwise(pieces)]
    pair_ranks.append(UNRANKED)
    splits = {left + right: (left, right) for left, right in pairwise(pieces) if left + right in unused}
    heap = [rank * count + i for i, rank in enumerate(pair_ranks) if rank != UNRANKED]
    heapq.heapify(heap)

    def rank_pair(i: int, left: str, right: str) -> None:
        pair_ranks[i] = rank = ranks.get(left + between + right, UNRANKED)
        if rank != UNRANKED:
            heapq.heappush(heap, rank * count + i)
            if left + right in unused:
                splits[left + right] = left, right

    while heap:
        rank, i = divmod(heapq.heappop(heap), count)
        if pair_ranks[i] != rank:
            continue
        absorbed = following[i]
        joined = pieces[i] = pieces[i] + pieces[absorbed]
        pieces[absorbed] = ""
        pair_ranks[absorbed] = pair_ranks[i] = UNRANKED
        after = following[i] = following[absorbed]
        before = previous[i]
        if before >= 0:
            rank_pair(before, pieces[before], joined)
        if after < count:
            previous[after] = i
            rank_pair(i, joined, pieces[after])
    return [part for piece in pieces if piece for part in _fall_apart(piece, splits)]


def _fall_apart(piece: str, splits: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    if piece in splits:
        for part in splits[piece]:
            yield from _fall_apart(part, splits)
    else:
        yield piece
