"""What each sampler did to the candidates, for a person to read."""

from __future__ import annotations

import attrs
import numpy as np

from realizar.sampling.candidates import Candidates
from realizar.sampling.ranking import top_k

NUM_TOP = 5


@attrs.frozen
class SamplerStep:
    """One sampler: how many candidates there were before and after, and what share of probability it took away.

    top: the likeliest after it, (id, probability among those that are left).
    """

    name: str
    before: int
    after: int
    removed: float
    top: tuple[tuple[int, float], ...]


class Explanation:
    """Collects the steps of one draw."""

    def __init__(self) -> None:
        self.steps: list[SamplerStep] = []

    def note(self, name: str, before: Candidates, after: Candidates) -> None:
        """One step, by the candidates around it."""
        left = before.probabilities[np.isin(before.ids, after.ids, assume_unique=True)].sum()
        probabilities = after.probabilities
        top = top_k(after.logits, NUM_TOP)
        likeliest = tuple((int(after.ids[i]), float(probabilities[i])) for i in top)
        self.steps.append(SamplerStep(name, len(before), len(after), max(0.0, 1 - float(left)), likeliest))
