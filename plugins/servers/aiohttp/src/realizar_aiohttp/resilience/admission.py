"""Whether a request is worth beginning: what it costs, and what the engine does meanwhile."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import attrs

from realizar.engine import LLM
from realizar.engine.stats import EngineStats
from realizar_aiohttp.resilience.counters import Counters

MEASURED_S = 0.5
"""Seconds of steps, of which a rate is the rate."""


@attrs.frozen
class Pace:
    """How fast an engine is: tokens a second through the model, and seconds of a step, which gives one token each."""

    tokens_per_s: float
    step_s: float
    until: EngineStats

    @classmethod
    def between(cls, before: EngineStats, after: EngineStats) -> Pace:
        """Of the steps between two moments."""
        seconds = max(1e-9, after.busy_s - before.busy_s)
        tokens, steps = after.computed_tokens - before.computed_tokens, after.steps - before.steps
        return cls(max(1e-9, tokens / seconds), seconds / max(1, steps), after)


@attrs.frozen
class Cost:
    """Tokens of a prompt, of which `answers` are made, each of at most `new` tokens."""

    prompt: int
    new: int
    answers: int = 1

    @property
    def tokens(self) -> int:
        """All together."""
        return self.prompt + self.answers * self.new


class Admission:
    """Predicts waiting times. Nobody is refused where nobody waits: an idle engine can't say how fast a full one is."""

    def __init__(self, max_wait_s: float | None, counters: Counters) -> None:
        self._max_wait_s, self._counters = max_wait_s, counters
        self._paces: WeakKeyDictionary[LLM, Pace] = WeakKeyDictionary()

    def cost(self, llm: LLM, prompt: int, max_tokens: int | None, answers: int) -> Cost:
        """What a prompt will take: an answer without a limit is as long as those before it were."""
        room = max(1, llm.max_model_len - prompt)
        return Cost(prompt, min(room, _typical(llm.stats, room) if max_tokens is None else max_tokens), answers)

    def wait_s(self, llm: LLM) -> float:
        """Seconds until those that wait now have been served; 0 where they only wait for the next step."""
        pace, stats, sequences = self._pace(llm), llm.stats, llm.sequences
        ahead = [sequence for sequence in sequences if sequence.waiting]
        fits = sum(s.tokens for s in ahead) <= stats.blocks_free * stats.block_size
        if pace is None or (fits and len(sequences) <= llm.max_running):
            return 0.0
        typical = _typical(stats, llm.max_model_len)
        tokens = sum(s.tokens - s.computed + min(typical, s.max_tokens - s.tokens) for s in ahead)
        return tokens / pace.tokens_per_s

    def prove(self, llm: LLM, cost: Cost, left_s: float | None) -> None:
        """Raise Problem (429) if it would wait too long, or could not be done in the seconds that it has left."""
        wait_s = self.wait_s(llm)
        pace = self._paces.get(llm)
        if not wait_s or pace is None:
            return
        if self._max_wait_s is not None and wait_s > self._max_wait_s:
            message = (
                f"it would wait for about {wait_s:.1f} s; this server lets requests wait for {self._max_wait_s:g} s"
            )
            raise self._counters.refusal("overloaded", message, wait_s - self._max_wait_s)
        own_s = cost.prompt / pace.tokens_per_s + cost.new * pace.step_s
        if left_s is not None and wait_s + own_s > left_s:
            message = f"it would wait for about {wait_s:.1f} s and take {own_s:.1f} s; it has {left_s:.1f} s"
            raise self._counters.refusal("overloaded", message, wait_s, hint="allow more time, or fewer tokens")

    def _pace(self, llm: LLM) -> Pace | None:
        stats, known = llm.stats, self._paces.get(llm)
        if known is None:
            if stats.steps:
                self._paces[llm] = Pace(
                    stats.computed_tokens / max(1e-9, stats.busy_s), stats.busy_s / stats.steps, stats
                )
        elif stats.busy_s - known.until.busy_s >= MEASURED_S:
            self._paces[llm] = Pace.between(known.until, stats)
        return self._paces.get(llm)


def _typical(stats: EngineStats, most: int) -> int:
    """Tokens of an answer, as those before it were; without any, the most that there can be."""
    return max(1, min(most, round(stats.generated_tokens / stats.finished))) if stats.finished else most
