"""What is known of the request that is being served, wherever it is served."""

from __future__ import annotations

import contextvars
import math
import time

import attrs

from realizar.errors import DeadlineExceeded
from realizar_aiohttp.problem import wrong_value

HEADER = "X-Request-Timeout"
"""Seconds, in which a client gives a request up; a body's `timeout` says the same."""


@attrs.define(eq=False)
class Context:
    """key: by which its client is known. headers: of its response. allowed_s: how long it may take, from began_s on."""

    key: str = "none"
    headers: dict[str, str] = attrs.field(factory=dict)
    allowed_s: float | None = None
    began_s: float = attrs.field(factory=time.monotonic)

    def allow(self, seconds: float | None) -> None:
        """Take no longer than that, nor than was allowed before."""
        if seconds is not None:
            self.allowed_s = seconds if self.allowed_s is None else min(self.allowed_s, seconds)

    @property
    def until_s(self) -> float | None:
        """When it must be done, on the clock of `time.monotonic`."""
        return None if self.allowed_s is None else self.began_s + self.allowed_s

    def left_s(self) -> float | None:
        """Seconds until it must be done, None if it need not; raises DeadlineExceeded if there are none."""
        if self.allowed_s is None or self.until_s is None:
            return None
        left_s = self.until_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded(self.allowed_s, 0)
        return left_s


_CONTEXT: contextvars.ContextVar[Context | None] = contextvars.ContextVar("context", default=None)


def current() -> Context:
    """The one of this task; outside of any request a new one, with no limits."""
    return _CONTEXT.get() or Context()


def begin(context: Context) -> None:
    """Make it the one of this task and of those that it starts."""
    _CONTEXT.set(context)


def seconds_of(value: str) -> float:
    """A header's seconds; raises Problem for what is none."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise wrong_value(HEADER, repr(value[:40]), "seconds, a number above 0")
    return seconds
