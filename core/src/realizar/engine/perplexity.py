"""Perplexity: the exponential of the mean negative log-likelihood of a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from realizar.engine.llm import LLM
from realizar.errors import RequestError
from realizar.progress import Progress, silent


def negative_log_likelihoods(
    llm: LLM, token_ids: Sequence[int], window: int, progress: Progress = silent
) -> list[float]:
    """-ln p(token | those before it in its window), in order, for every token but each window's first.

    The text is cut into windows of `window` tokens that do not overlap; a last one of a single token is left out.
    Raises RequestError if there are fewer than two tokens.
    """
    if len(token_ids) < 2:
        raise RequestError(f"perplexity needs at least 2 tokens; the text has {len(token_ids)}")
    losses: list[float] = []
    for start in range(0, len(token_ids) - 1, window):
        progress("perplexity", start, len(token_ids))
        ids = list(token_ids[start : start + window])
        logits = llm.logits(ids)[:-1].astype(np.float64)
        top = logits.max(axis=1)
        log_norm = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
        losses += (log_norm - logits[np.arange(len(ids) - 1), ids[1:]]).tolist()
    return losses
