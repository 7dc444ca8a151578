"""Times of one request, for those who send `X-Trace-Level`: measured by the engine, returned as the member `trace`."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, get_args

import attrs

from realizar.engine import Piece
from realizar.engine.request_trace import MeasuredTrace, TraceLevel
from realizar_aiohttp.problem import wrong_value

HEADER = "X-Trace-Level"


@attrs.define
class Traces:
    """What a request asked for, and the traces of those of its answers that have ended, by number."""

    level: TraceLevel
    found: dict[int, MeasuredTrace] = attrs.field(factory=dict)

    def note(self, index: int, piece: Piece) -> None:
        """Keep the trace of an answer whose last piece this is."""
        if piece.completion is not None and piece.completion.trace is not None:
            self.found[index] = piece.completion.trace

    @property
    def member(self) -> dict[str, Any]:
        """The member of the response: an object, or a list of them if there were several answers."""
        objects = [trace_object(trace) for _, trace in sorted(self.found.items())]
        return {"trace": objects[0] if len(objects) == 1 else objects} if objects else {}


TRACES: ContextVar[Traces | None] = ContextVar("realizar_traces", default=None)
"""Of the request that is being answered; tasks that it starts see it too."""


def traces_of(header: str | None) -> Traces | None:
    """What the header asks for; None without one. Raises Problem for a level that is not known."""
    if header is None:
        return None
    for level in get_args(TraceLevel):
        if header.strip().lower() == level:
            return Traces(level)
    raise wrong_value(HEADER, repr(header[:40]), "brick, step or layer")


def trace_object(trace: MeasuredTrace) -> dict[str, Any]:
    """The Rust engine's object, filled with what was measured; the rows of `breakdown` add up to the total.

    Steps are shared: each lasts as long for every request in it, so `step_tokens` counts everybody's tokens.
    """
    if trace.level == "step" or not trace.sees_inside:
        inside = [_row(step.phase, step.seconds, tokens=step.tokens, step_tokens=step.step_tokens,
                       sequences=step.sequences) for step in trace.steps]  # fmt: skip
    else:
        inside = [_row(part.name, part.seconds, count=part.count) for part in trace.parts]
        inside.append(_row("rest of steps", trace.steps_s - sum(part.seconds for part in trace.parts)))
    outside_s = trace.total_s - trace.waiting_s - trace.steps_s
    found = {
        "level": trace.level, "operations": len(inside), "total_time_us": _us(trace.total_s), "provenance": "measured",
        "steps": len(trace.steps), "tokens": sum(step.tokens for step in trace.steps),
        "step_tokens": sum(step.step_tokens for step in trace.steps),
        "breakdown": [_row("waiting", trace.waiting_s), *inside, _row("between steps", outside_s)],
    }  # fmt: skip
    if not trace.sees_inside:
        found["note"] = "this backend runs a step as one recorded program, whose parts cannot be timed; these are steps"
    return found


def _row(name: str, seconds: float, **details: int) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "time_us": _us(seconds)}
    return {**row, "details": details} if details else row


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)
