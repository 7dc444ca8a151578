"""The generations that ended last, for those who ask for percentiles instead of histograms."""

from __future__ import annotations

import time
from collections import deque

import attrs

KEPT = 1024
"""How many are remembered."""


@attrs.frozen
class Finished:
    """One generation: when it ended, how long it took, and what it made. Seconds are of `time.perf_counter`."""

    at_s: float
    seconds: float
    num_tokens: int


class Recent:
    """A window over finished generations, and totals since the start."""

    def __init__(self) -> None:
        self.started_s = time.perf_counter()
        self.num_requests = 0
        self.num_tokens = 0
        self._window: deque[Finished] = deque(maxlen=KEPT)

    def add(self, seconds: float, num_tokens: int) -> None:
        """Note one that has just ended."""
        self.num_requests += 1
        self.num_tokens += num_tokens
        self._window.append(Finished(time.perf_counter(), seconds, num_tokens))

    @property
    def uptime_s(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started_s

    @property
    def latencies_s(self) -> list[float]:
        """Of those in the window, shortest first."""
        return sorted(item.seconds for item in self._window)

    def tokens_per_s(self) -> float:
        """Tokens of the generations in the window over the time that it spans."""
        if not self._window:
            return 0.0
        began = min(item.at_s - item.seconds for item in self._window)
        return sum(item.num_tokens for item in self._window) / max(1e-9, self._window[-1].at_s - began)


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that at least that share of `ordered` does not exceed; 0 if there is none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 100) * len(ordered) // 100) - 1))]
