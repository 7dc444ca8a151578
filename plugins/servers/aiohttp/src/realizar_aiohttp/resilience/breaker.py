"""A circuit breaker: what fails again and again is left alone for a while."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import attrs

from realizar.errors import CorruptedLogits, EngineFailed, EngineStalled, StepFailed, TransientFault

State = Literal["closed", "half-open", "open"]


def is_fault(error: BaseException | None) -> bool:
    """Whether it is the engine's fault; nothing that one request brings about may close a model to the others."""
    return isinstance(error, (CorruptedLogits, EngineFailed, EngineStalled, StepFailed, TransientFault))


@attrs.frozen(eq=False)
class Attempt:
    """Leave to try. is_probe: the one by which a half-open breaker finds out."""

    is_probe: bool


class Breaker:
    """Closed until `failures` of them within window_s; then open; after open_s one attempt decides.

    An error that ends many requests, as a failed step does, is one failure.
    """

    def __init__(
        self, failures: int, window_s: float, open_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._window_s, self._open_s, self._clock = failures, window_s, open_s, clock
        self._failed_s: deque[float] = deque(maxlen=failures)
        self._opened_s: float | None = None
        self._probe: Attempt | None = None
        self._last: BaseException | None = None

    @property
    def state(self) -> State:
        """At this moment."""
        if self._opened_s is None:
            return "closed"
        return "half-open" if self._clock() - self._opened_s >= self._open_s else "open"

    @property
    def retry_after_s(self) -> float:
        """Seconds until the next attempt."""
        return 0.0 if self._opened_s is None else max(0.0, self._opened_s + self._open_s - self._clock())

    def enter(self) -> Attempt | None:
        """Leave to try, or none."""
        state = self.state
        if state == "closed":
            return Attempt(is_probe=False)
        if state == "open" or self._probe is not None:
            return None
        self._probe = Attempt(is_probe=True)
        return self._probe

    def leave(self, attempt: Attempt, error: BaseException | None) -> bool:
        """How an attempt ended; whether that opened the breaker."""
        if attempt is self._probe:
            self._probe = None
            if error is None:
                self._opened_s = self._last = None
                self._failed_s.clear()
        return is_fault(error) and self._note(error, attempt)

    def _note(self, error: BaseException | None, attempt: Attempt) -> bool:
        root = error and (error.__cause__ or error)
        is_new = root is not self._last
        self._last, now = root, self._clock()
        if is_new and self._opened_s is None:
            self._failed_s.append(now)
        enough = len(self._failed_s) == self._most and now - self._failed_s[0] <= self._window_s
        opens = attempt.is_probe or (self._opened_s is None and enough)
        if opens:
            self._opened_s = now
        return opens
