"""A limit on one kind of work, so that no kind takes what the others need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from realizar_aiohttp.resilience.counters import Counters


class Bulkhead:
    """kind: of the work, for people. limit: how much of it may be open at a time."""

    def __init__(self, kind: str, limit: int, counters: Counters) -> None:
        self.kind, self.limit, self.open = kind, limit, 0
        self._counters = counters

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """One of the places, for as long as the block lasts; raises Problem (429) if all are taken."""
        if self.open >= self.limit:
            message = f"{self.open} of this server's {self.limit} places for {self.kind} are taken"
            raise self._counters.refusal("bulkhead_full", message, 1.0, hint="send fewer requests at a time")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
