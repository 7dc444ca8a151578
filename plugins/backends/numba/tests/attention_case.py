"""Sequences for attention: run through the backend's op in any steps, and computed in float64."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import CacheSpec, Step
from realizar_numba.backend import NumbaBackend

Rows = NDArray[np.float32]
Pieces = Sequence[tuple[int, int, int]]
"""(sequence, first token, token after the last) of a step."""


@attrs.frozen
class AttentionCase:
    """Sequences of the given lengths with random queries, keys and values; head_dim^-0.5 is the scale."""

    lengths: tuple[int, ...]
    heads: int
    kv_heads: int
    head_dim: int
    sliding_window: int = 0
    softcap: float = 0.0
    block_size: int = 16
    seed: int = 0
    alibi_slopes: tuple[float, ...] = ()
    causal: bool = True

    def _rows(self, kind: int, heads: int) -> list[Rows]:
        rng = np.random.default_rng((self.seed, kind))
        return [rng.standard_normal((n, heads * self.head_dim)).astype(np.float32) for n in self.lengths]

    @property
    def queries(self) -> list[Rows]:
        """[T, heads * head_dim] of each sequence."""
        return self._rows(0, self.heads)

    @property
    def keys(self) -> list[Rows]:
        """[T, kv_heads * head_dim] of each sequence."""
        return self._rows(1, self.kv_heads)

    @property
    def values(self) -> list[Rows]:
        """[T, kv_heads * head_dim] of each sequence."""
        return self._rows(2, self.kv_heads)

    def run(self, backend: NumbaBackend, kv_type: str, steps: Sequence[Pieces], poison: int | None = None) -> Rows:
        """Rows of all sequences, one sequence after another; the cache's bytes are `poison` before, or zero."""
        blocks = -(-max(self.lengths) // self.block_size)
        count = blocks * len(self.lengths)
        (cache,) = backend.make_cache(CacheSpec(((self.kv_heads, self.head_dim),), count, self.block_size, kv_type))
        if poison is not None:
            cache.keys[:] = cache.values[:] = poison
        tables = np.random.default_rng(self.seed).permutation(count).reshape(-1, blocks).astype(np.int32)
        inputs = self.queries, self.keys, self.values
        found = [np.empty_like(q) for q in self.queries]
        for pieces in steps:
            q, k, v = (np.concatenate([rows[s][start:stop] for s, start, stop in pieces]) for rows in inputs)
            out, step = np.empty_like(q), self._step(pieces, tables)
            backend.attention(
                q, k, v, num_heads=self.heads, num_key_value_heads=self.kv_heads, head_dim=self.head_dim,
                scale=self.head_dim**-0.5, sliding_window=self.sliding_window, softcap=self.softcap,
                alibi_slopes=self.alibi_slopes, causal=self.causal, cache=cache, step=step, out=out,
            )  # fmt: skip
            for i, (s, start, stop) in enumerate(pieces):
                found[s][start:stop] = out[step.query_start_loc[i] : step.query_start_loc[i + 1]]
        return np.concatenate(found)

    def _step(self, pieces: Pieces, tables: NDArray[np.int32]) -> Step:
        total, size = sum(stop - start for _, start, stop in pieces), self.block_size
        step = Step.empty(max_tokens=total, max_seqs=len(pieces), max_rows=1, max_blocks=tables.shape[1])
        positions = [np.arange(start, stop) for _, start, stop in pieces]
        step.positions[:] = np.concatenate(positions)
        step.slot_mapping[:] = np.concatenate(
            [tables[s][p // size] * size + p % size for (s, _, _), p in zip(pieces, positions, strict=True)]
        )
        step.query_start_loc[1:] = np.cumsum([len(p) for p in positions])
        step.context_lens[:] = [stop for _, _, stop in pieces]
        step.block_tables[:] = tables[[s for s, _, _ in pieces]]
        step.num_tokens, step.num_seqs = total, len(pieces)
        return step

    def whole(self) -> list[Pieces]:
        """All sequences in one step."""
        return [[(s, 0, n) for s, n in enumerate(self.lengths)]]

    def alone(self) -> list[Pieces]:
        """Each sequence in a step of its own."""
        return [[(s, 0, n)] for s, n in enumerate(self.lengths)]

    def chunked(self, size: int) -> list[Pieces]:
        """Side by side in steps of `size` tokens."""
        starts = range(0, max(self.lengths), size)
        return [[(s, t, min(t + size, n)) for s, n in enumerate(self.lengths) if t < n] for t in starts]

    def last_alone(self) -> list[Pieces]:
        """Everything but the last token of each sequence, then those, one step each."""
        first = [(s, 0, n - 1) for s, n in enumerate(self.lengths) if n > 1]
        return [*([first] if first else []), *([(s, n - 1, n)] for s, n in enumerate(self.lengths))]

    def expected(self) -> NDArray[np.float64]:
        """The definition, in float64, of unrounded keys and values."""
        return np.concatenate([self._attend(*rows) for rows in zip(self.queries, self.keys, self.values, strict=True)])

    def _attend(self, q: Rows, k: Rows, v: Rows) -> NDArray[np.float64]:
        heads = (len(q), self.kv_heads, -1, self.head_dim)
        queries, keys, values = (rows.astype(np.float64).reshape(heads) for rows in (q, k, v))
        scores = np.einsum("tkgd,jkd->kgtj", queries, keys[:, :, 0]) * self.head_dim**-0.5
        if self.softcap:
            scores = self.softcap * np.tanh(scores / self.softcap)
        distance = np.arange(len(q))[:, None] - np.arange(len(q))
        if self.alibi_slopes:
            scores -= np.reshape(self.alibi_slopes, (self.kv_heads, -1, 1, 1)) * distance
        seen = (distance >= 0) & (distance < (self.sliding_window or len(q)))
        seen |= not self.causal
        weights = np.exp(np.where(seen, scores, -np.inf))
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.einsum("kgtj,jkd->tkgd", weights, values[:, :, 0]).reshape(len(q), -1)
