"""From the hidden states of a text's tokens to one vector."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

PoolingType = Literal["mean", "cls", "last"]


class Pooling:
    """Takes hidden states as they come, chunk by chunk, in order.

    "mean": of all tokens, those around the text included; "cls": the first token's; "last": the last one's.
    Source: Reimers & Gurevych 2019, arXiv:1908.10084, section 3.
    """

    def __init__(self, kind: PoolingType) -> None:
        self._kind = kind
        self._count = 0
        self._value: NDArray[np.floating] = np.zeros(0)

    def add(self, rows: NDArray[np.float32]) -> None:
        """The next tokens' hidden states, at least one; they may be overwritten afterwards."""
        if self._kind == "mean":
            total = rows.sum(axis=0, dtype=np.float64)
            self._value = self._value + total if self._count else total
        elif self._kind == "last" or not self._count:
            self._value = rows[0 if self._kind == "cls" else -1].copy()
        self._count += len(rows)

    def vector(self, normalize: bool) -> NDArray[np.float32]:
        """The embedding; normalize: its length becomes 1, unless it is 0."""
        vector = self._value / self._count if self._kind == "mean" else self._value
        if normalize:
            vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return vector.astype(np.float32)
