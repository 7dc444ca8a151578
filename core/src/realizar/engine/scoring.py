"""Logits of every position of a text that is already known."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from realizar.engine.sequence import Sequence


class Scoring:
    """Collects the logits of one sequence, chunk by chunk."""

    def __init__(self, token_ids: list[int], vocab_size: int) -> None:
        self._logits = np.empty((len(token_ids), vocab_size), np.float32)
        self._filled = 0
        self._done = threading.Event()
        self._error: BaseException | None = None
        self.sequence = Sequence(token_ids, len(token_ids), self._on_logits, self._on_error, every_position=True)

    def wait(self) -> NDArray[np.float32]:
        """Float32 [T, vocab] once all are there; raises what went wrong."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._logits

    def _on_logits(self, rows: NDArray[np.float32]) -> None:
        self._logits[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)
        if self._filled == len(self._logits):
            self._done.set()

    def _on_error(self, error: BaseException) -> None:
        self._error = error
        self._done.set()
