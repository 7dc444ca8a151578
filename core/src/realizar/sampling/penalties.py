"""Penalties on tokens that were already seen."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from realizar.sampling.params import SamplingParams


class TokenCounts:
    """The distinct tokens of one request, and how often each is in its output.

    Adding a token costs the same however long the text is.
    """

    def __init__(self, prompt_ids: Iterable[int] = ()) -> None:
        distinct = sorted(set(prompt_ids))
        self._index = {token_id: i for i, token_id in enumerate(distinct)}
        self._ids = np.array(distinct, np.int64)
        self._counts = np.zeros(len(distinct), np.float32)

    def append(self, token_id: int) -> None:
        """Count one output token."""
        i = self._index.setdefault(token_id, len(self._index))
        if i == len(self._ids):
            self._grow()
        self._ids[i] = token_id
        self._counts[i] += 1

    def _grow(self) -> None:
        extra = max(64, len(self._ids))
        self._ids = np.concatenate([self._ids, np.zeros(extra, np.int64)])
        self._counts = np.concatenate([self._counts, np.zeros(extra, np.float32)])

    @property
    def ids(self) -> NDArray[np.int64]:
        """Distinct ids of prompt and output, [N]."""
        return self._ids[: len(self._index)]

    @property
    def output_counts(self) -> NDArray[np.float32]:
        """How often each of `ids` was generated, [N]; 0 for a token of the prompt only."""
        return self._counts[: len(self._index)]


def penalize(logits: NDArray[np.float32], counts: TokenCounts, params: SamplingParams) -> None:
    """Apply repetition, then frequency and presence penalties to `logits` [V] in place.

    Repetition, over prompt and output: a positive logit is divided by the penalty, another multiplied by it
    (Keskar et al. 2019, arXiv:1909.05858, section 4.1; the sign rule is Hugging Face's and vLLM's).
    Frequency and presence, over the output: logit - count * frequency - (count > 0) * presence
    (OpenAI's API reference).
    """
    ids = counts.ids
    seen = logits[ids]
    repetition = np.float32(params.repetition_penalty)
    seen = np.where(seen > 0, seen / repetition, seen * repetition)
    seen -= counts.output_counts * np.float32(params.frequency_penalty)
    seen -= (counts.output_counts > 0) * np.float32(params.presence_penalty)
    logits[ids] = seen


def has_penalties(params: SamplingParams) -> bool:
    """Whether `penalize` would change anything."""
    return bool(params.repetition_penalty != 1 or params.presence_penalty or params.frequency_penalty)
