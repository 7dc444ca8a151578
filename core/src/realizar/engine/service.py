"""How urgently a request is served, and how the choices of one request differ."""

from __future__ import annotations

import math
from typing import get_args

import attrs

from realizar.engine.request_trace import TraceLevel
from realizar.errors import RequestError
from realizar.sampling.philox import philox4x32, random_seed

MAX_PRIORITY = 1000
"""Highest priority, and lowest with a minus."""

_MASK = 0xFFFFFFFF


@attrs.frozen
class Service:
    """What a caller asks of the scheduler.

    priority: higher ones go first; one step counts like 10 s of waiting. deadline_s: seconds from now until the
    request must be done; None: any time. trace: what is measured of its steps. Raises RequestError naming what was
    found and what was expected.
    """

    priority: int = attrs.field(default=0)
    deadline_s: float | None = attrs.field(default=None)
    trace: TraceLevel | None = attrs.field(default=None)

    @priority.validator
    def _check_priority(self, _: object, value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_PRIORITY:
            raise RequestError(f"priority: found {value!r}, expected an integer from -{MAX_PRIORITY} to {MAX_PRIORITY}")

    @deadline_s.validator
    def _check_deadline(self, _: object, value: object) -> None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < value < math.inf):  # type: ignore[operator]
            raise RequestError(f"deadline_s: found {value!r}, expected seconds, a number above 0, or none")

    @trace.validator
    def _check_trace(self, _: object, value: object) -> None:
        if value is not None and value not in get_args(TraceLevel):
            raise RequestError(f"trace: found {value!r}, expected one of {', '.join(get_args(TraceLevel))}, or none")


ANY_TIME = Service()


def choice_seed(seed: int | None, index: int) -> int:
    """The seed of the index-th choice of a request: a stream of draws of its own, the same whenever it is asked for.

    The first has the request's own seed, so that one choice of many is what a request for one gives; the others have
    Philox's words for the counter (index, 0, 0, 1), which no draw of a token uses. None: a new one every time.
    """
    if seed is None:
        return random_seed()
    if index == 0:
        return seed
    low, high, _, _ = philox4x32((index, 0, 0, 1), (seed & _MASK, (seed >> 32) & _MASK))
    return high << 32 | low
