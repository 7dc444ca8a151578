"""What is measured: one prefill or one decode, at some depth, in some batch, on some threads."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import attrs

from realizar.engine.llm import BESIDE_DECODE


@attrs.frozen
class Case:
    """A test. Prefill: n_gen is 0 and n_batch 1. Decode: n_prompt is 0.

    n_depth: tokens in the cache before the clock starts. n_batch: sequences decoding side by side.
    threads: None is all cores.
    """

    n_prompt: int
    n_gen: int
    threads: int | None = None
    n_depth: int = 0
    n_batch: int = 1

    @property
    def name(self) -> str:
        """In llama-bench's words: pp512, tg128 @ d1024; and tg128 x16 for 16 sequences."""
        what = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        batch = f" x{self.n_batch}" if self.n_batch > 1 else ""
        return what + batch + (f" @ d{self.n_depth}" if self.n_depth else "")

    @property
    def start(self) -> int:
        """Tokens in the cache before the first measured step; decode needs at least one."""
        return max(self.n_depth, 1) if self.n_gen else self.n_depth

    @property
    def num_tokens(self) -> int:
        """Tokens of each sequence: the cache must hold them."""
        if self.n_prompt:
            return self.n_depth + self.n_prompt
        return self.start + 1 + self.lead + self.n_gen

    @property
    def lead(self) -> int:
        """Tokens, at most, that the first sequence of a batch is ahead when the last one starts."""
        return self.n_batch + self.n_batch * self.start // BESIDE_DECODE if self.n_batch > 1 else 0


def make_cases(
    n_prompt: Sequence[int], n_gen: Sequence[int], *, n_depth: Sequence[int] = (0,), n_batch: Sequence[int] = (1,),
    threads: Iterable[int | None] = (None,),
) -> list[Case]:  # fmt: skip
    """Every prompt length and every decode length in every batch, at every depth, on every number of threads.

    A length of 0 leaves its tests out. The cases of one thread count lie together.
    """
    cases = []
    for count, depth in itertools.product(threads, n_depth):
        cases += [Case(n, 0, count, depth) for n in n_prompt if n]
        cases += [Case(0, n, count, depth, batch) for n in n_gen if n for batch in n_batch]
    return cases
