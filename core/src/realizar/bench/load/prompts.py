"""Prompts that no server has seen: random words, so that no prefix cache helps."""

from __future__ import annotations

import numpy as np

_WORDS = (
    "river stone window market letter garden winter engine paper island silver morning bridge shadow planet record"
    " harvest signal kitchen mirror forest ladder copper voyage candle desert thunder village marble orchard compass"
    " lantern meadow anchor harbor blanket whistle feather saddle pepper glacier tunnel cabin velvet canyon rocket"
).split()


def random_prompt(seed: int, index: int, num_words: int) -> str:
    """Prompt number `index` of a run: `num_words` words, the first ones unlike those of any other."""
    rng = np.random.default_rng((seed, index))
    return " ".join([f"{index}-{rng.integers(10**6)}", *rng.choice(_WORDS, max(1, num_words - 4))])
