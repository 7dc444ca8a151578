"""What was measured of one request: the steps that it took part in, and what these steps consist of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from realizar.backend import Backend
from realizar.trace import Tracer

if TYPE_CHECKING:
    from realizar.engine.runner import ModelRunner
    from realizar.engine.sequence import Chunk, Logits

TraceLevel = Literal["step", "layer", "brick"]
"""Times of each step, of each layer over all steps, or of each op over all steps ("brick" in the Rust engine)."""


@attrs.frozen
class StepTrace:
    """One step: how long it took, how many tokens of the request it computed, and how many of how many requests."""

    phase: Literal["prefill", "decode"]
    seconds: float
    tokens: int
    step_tokens: int
    sequences: int


@attrs.frozen
class PartTime:
    """Seconds of a layer or an op over all steps, and how often it ran."""

    name: str
    seconds: float
    count: int


@attrs.frozen
class MeasuredTrace:
    """A finished trace. total_s: from submission to the last token, of which waiting_s passed before the first step.

    steps: each lasted as long for everybody in it. parts: of these steps, by layer or op, in the order in which they
    ran first; empty where only steps were asked for. sees_inside: whether the backend's steps consist of parts that
    can be measured.
    """

    level: TraceLevel
    total_s: float
    waiting_s: float
    steps: tuple[StepTrace, ...]
    parts: tuple[PartTime, ...]
    sees_inside: bool = True

    @property
    def steps_s(self) -> float:
        """Seconds of all steps."""
        return sum(step.seconds for step in self.steps)


class RequestTrace:
    """Collects the steps of one sequence, on the engine's thread."""

    def __init__(self, level: TraceLevel) -> None:
        self.level: TraceLevel = level
        self._steps: list[StepTrace] = []
        self._parts: dict[str, tuple[float, int]] = {}
        self._sees_inside = True

    def add(self, step: StepTrace, events: Sequence[dict[str, Any]], sees_inside: bool) -> None:
        """Note a step and the spans that were recorded in it."""
        self._steps.append(step)
        self._sees_inside = sees_inside
        for name, seconds in _times(events, self.level):
            known_s, count = self._parts.get(name, (0.0, 0))
            self._parts[name] = known_s + seconds, count + 1

    def finish(self, total_s: float, waiting_s: float) -> MeasuredTrace:
        """All of it, with what was measured around the steps."""
        parts = tuple(PartTime(name, seconds, count) for name, (seconds, count) in self._parts.items())
        return MeasuredTrace(self.level, total_s, waiting_s, tuple(self._steps), parts, self._sees_inside)


def run_traced(runner: ModelRunner, chunks: Sequence[Chunk]) -> list[Logits]:
    """Run a step and note it in the trace of every sequence that has one; only meanwhile has the backend a tracer."""
    traces = [(chunk, chunk.sequence.trace) for chunk in chunks]
    levels = {trace.level for _, trace in traces if trace is not None}
    backend, tracer = runner.backend, Tracer(ops="brick" in levels)
    sees_inside, outer = type(backend).capture is Backend.capture, backend.tracer
    if sees_inside and levels != {"step"}:
        backend.tracer = tracer
    try:
        with tracer.span("step"):
            logits = runner.run(chunks)
    finally:
        backend.tracer = outer
    step, events = tracer.events[-1], tracer.events[:-1]
    if outer is not None:
        outer.events.extend(events)
    tokens = sum(chunk.count for chunk in chunks)
    for chunk, trace in traces:
        if trace is not None:
            phase: Literal["prefill", "decode"] = "decode" if _is_decode(chunk) else "prefill"
            trace.add(StepTrace(phase, step["dur"] / 1e6, chunk.count, tokens, len(chunks)), events, sees_inside)
    return logits


def _is_decode(chunk: Chunk) -> bool:
    """Whether it is the one token that was chosen last, with or without guesses."""
    sequence = chunk.sequence
    return chunk.count - chunk.num_drafts == 1 and len(sequence.token_ids) > sequence.num_prompt_tokens


def _times(events: Sequence[dict[str, Any]], level: TraceLevel) -> list[tuple[str, float]]:
    """(name, seconds) of what the level asks for; a fused block has no ops to be told apart and stands whole."""
    if level == "step":
        return []
    blocks = [(event["name"], event["dur"] / 1e6) for event in events if "block" not in event["args"]]
    if level == "layer":
        return blocks
    ops = [event for event in events if "block" in event["args"]]
    apart = {event["args"]["block"] for event in ops}
    fused = [(f"{name} (fused)", seconds) for name, seconds in blocks if name not in apart]
    return [(event["name"], event["dur"] / 1e6) for event in ops] + fused
