"""A smaller model that guesses what a larger one will say."""

from __future__ import annotations

import attrs

from realizar.backend import Bucket
from realizar.engine.block_manager import BlockManager
from realizar.engine.runner import ModelRunner
from realizar.engine.sequence import Chunk, Sequence
from realizar.engine.speculation import Proposer


@attrs.define(eq=False)
class _Shadow:
    """A sequence as the draft computes it. num_certain: how many of its tokens are no guesses."""

    sequence: Sequence
    num_certain: int = 0

    def follow(self, token_ids: list[int]) -> None:
        """Take over what is certain by now, and keep what was computed of it."""
        mine = self.sequence
        alike = next(
            (i for i in range(self.num_certain, min(len(mine.token_ids), len(token_ids)))
             if mine.token_ids[i] != token_ids[i]),
            min(len(mine.token_ids), len(token_ids)),
        )  # fmt: skip
        mine.num_computed = min(mine.num_computed, alike, len(token_ids) - 1)
        mine.token_ids[alike:] = token_ids[alike:]
        self.num_certain = len(token_ids)

    @property
    def guesses(self) -> list[int]:
        return self.sequence.token_ids[self.num_certain :]


class DraftModel(Proposer):
    """Guesses the likeliest next tokens, one after another, for all sequences together.

    It keeps what it has computed of each sequence in a cache of its own; who no longer decodes loses it. A long text is
    caught up with over several calls, a step's budget each, so that nobody waits long for it.
    """

    def __init__(self, runner: ModelRunner, limit: Bucket, blocks: BlockManager, max_model_len: int) -> None:
        self._runner, self._limit, self._blocks = runner, limit, blocks
        self._max_model_len = max_model_len
        self._shadows: dict[Sequence, _Shadow] = {}

    def propose(self, sequences: list[Sequence], count: int) -> list[list[int]]:
        for gone in self._shadows.keys() - set(sequences):
            self._blocks.release(self._shadows.pop(gone).sequence.block_table)
        shadows = [self._shadow(sequence) for sequence in sequences]
        self._step(shadows)
        for _ in range(1, count):
            self._step([shadow for shadow in shadows if shadow.guesses])
        return [shadow.guesses for shadow in shadows]

    def _shadow(self, sequence: Sequence) -> _Shadow:
        shadow = self._shadows.get(sequence)
        if shadow is None:
            shadow = _Shadow(Sequence([], self._max_model_len, _nobody_asks, _nobody_asks))
            self._shadows[sequence] = shadow
        shadow.follow(sequence.token_ids)
        return shadow

    def _step(self, shadows: list[_Shadow]) -> None:
        """Compute what is pending of all, within the budget, and append the likeliest token where all is computed."""
        chunks, tokens = [], self._limit.max_tokens
        for sequence in (shadow.sequence for shadow in shadows[: self._limit.max_seqs]):
            count, length = min(sequence.num_pending, tokens), len(sequence.token_ids)
            if count and length < self._max_model_len and self._blocks.grow(sequence.block_table, length):
                chunks.append(Chunk.next(sequence, count))
                tokens -= count
        if not chunks:
            return
        for chunk, rows in zip(chunks, self._runner.run(chunks), strict=True):
            if chunk.completes:
                chunk.sequence.token_ids.append(int(rows[-1].argmax()))


def _nobody_asks(_: object) -> None:
    raise AssertionError("a draft's logits are taken where they are computed")
