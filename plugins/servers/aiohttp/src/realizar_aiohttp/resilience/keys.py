"""What each key may use: requests at a time, and tokens a minute."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from realizar_aiohttp.resilience.counters import Counters

_ROUNDING = 1e-6
"""Tokens that sums of fractions may be off."""


@attrs.define(eq=False)
class Bucket:
    """Tokens that a key has left; they come back evenly. Below 0: it owes some."""

    level: float
    filled_s: float


class KeyLedger:
    """The accounts of all keys. concurrency, tokens_per_minute: of each; None: no limit."""

    def __init__(
        self, concurrency: int | None, tokens_per_minute: int | None, counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._concurrency, self._per_minute = concurrency, tokens_per_minute
        self._counters, self._clock = counters, clock
        self._open: Counter[str] = Counter()
        self._buckets: dict[str, Bucket] = {}

    @contextlib.contextmanager
    def request(self, key: str) -> Iterator[None]:
        """Count a request while it is open; raises Problem (429) if the key has as many as it may."""
        if self._concurrency is not None and self._open[key] >= self._concurrency:
            message = f"{self._open[key]} requests of this key are open, as many as may be"
            raise self._counters.refusal("key_concurrency", message, 1.0, hint="wait for one of them to end")
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    def take(self, key: str, tokens: int) -> None:
        """Charge a key; raises Problem (429) if it has not that many left.

        One that has all its tokens may owe the rest of a larger request, which could not be served ever else.
        """
        if self._per_minute is None:
            return
        bucket = self._filled(key, self._per_minute)
        lacking = min(tokens, self._per_minute) - bucket.level
        if lacking > _ROUNDING:
            message = f"{tokens} tokens are more than this key has left of its {self._per_minute} a minute"
            raise self._counters.refusal("key_tokens", message, lacking * 60 / self._per_minute)
        bucket.level -= tokens

    def settle(self, key: str, taken: int, used: int) -> None:
        """Give back what was charged and not used, or charge the rest."""
        if self._per_minute is not None:
            self._filled(key, self._per_minute).level += taken - used

    def state(self) -> dict[str, Any]:
        """By key: open requests, and tokens that are left of this minute's."""
        levels = {} if self._per_minute is None else {
            key: round(self._filled(key, self._per_minute).level) for key in self._buckets
        }  # fmt: skip
        return {"open_requests": dict(self._open), "tokens_left": levels}

    def _filled(self, key: str, per_minute: int) -> Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(key, Bucket(per_minute, now))
        bucket.level = min(per_minute, bucket.level + (now - bucket.filled_s) * per_minute / 60)
        bucket.filled_s = now
        return bucket
