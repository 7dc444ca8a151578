"""The tokens that may still be drawn, as a chain of samplers narrows them."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class Candidates:
    """Ids int64 [N] in ascending order and their finite logits, float64 [N]; never empty."""

    def __init__(self, ids: NDArray[np.int64], logits: NDArray[np.float64]) -> None:
        self.ids, self.logits = ids, logits

    @classmethod
    def of(cls, logits: NDArray[np.floating]) -> Candidates:
        """Those of a row [V] that are not banned."""
        ids = np.flatnonzero(logits > -np.inf)
        return cls(ids, logits[ids].astype(np.float64))

    def __len__(self) -> int:
        return len(self.ids)

    def keep(self, kept: NDArray[np.bool_]) -> Candidates:
        """Those that are marked; all if all are."""
        return self if kept.all() else Candidates(self.ids[kept], self.logits[kept])

    def with_logits(self, logits: NDArray[np.float64]) -> Candidates:
        """The same tokens with other logits."""
        return Candidates(self.ids, logits)

    @cached_property
    def best(self) -> int:
        """The index of the first-ranked."""
        return int(self.logits.argmax())

    @cached_property
    def log_weights(self) -> NDArray[np.float64]:
        """Logits less the highest."""
        log_weights: NDArray[np.float64] = self.logits - self.logits[self.best]
        return log_weights

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Probabilities times a constant; the highest weighs 1."""
        weights: NDArray[np.float64] = np.exp(self.log_weights)
        return weights

    @cached_property
    def total(self) -> float:
        """The sum of the weights."""
        return float(self.weights.sum())

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of each candidate among the candidates."""
        probabilities: NDArray[np.float64] = self.weights / self.total
        return probabilities

    @property
    def surprises(self) -> NDArray[np.float64]:
        """Minus the natural logarithms of the probabilities."""
        surprises: NDArray[np.float64] = math.log(self.total) - self.log_weights
        return surprises
