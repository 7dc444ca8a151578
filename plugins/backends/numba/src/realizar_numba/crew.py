"""How many threads run the next step: fewer while somebody else needs the cores.

A thread that loses its core makes all others wait at the next barrier, so two threads beside one busy neighbour are
slower than one alone. Counting lost time slices would only tell that there is a neighbour; what matters is whether
fewer threads are faster, and that is measured: long waits start a trial, and times of whole steps decide it.
"""

from __future__ import annotations

import attrs

TRIAL_STEPS = 4
FIRST_REST, LONGEST_REST = 4, 128
"""Steps between trials: at first, and at most; each trial lost in a row doubles them."""

_MEMORY = 7 / 8
"""Weight of the past at each step of a running mean."""

_GAIN = 15 / 16
"""Fewer threads must take at most this part of the time: equal times are no reason to leave cores idle."""


@attrs.define
class _Steps:
    """Sums over steps that ran on `size` threads. Times are in any one unit; waited: summed over the threads."""

    size: int
    tokens: float = 0.0
    time: float = 0.0
    waited: float = 0.0
    count: int = 0

    def add(self, tokens: int, time: int, waited: int, memory: float) -> None:
        """Take in one more step; the ones before now weigh `memory` times what they did."""
        self.tokens = memory * self.tokens + tokens
        self.time = memory * self.time + time
        self.waited = memory * self.waited + waited
        self.count += 1

    @property
    def worth(self) -> float:
        """How many threads that never wait would have done as much.

        If the work is cut evenly, all other threads wait for one that has lost its core: what they lost together is
        waited * size / (size - 1).
        """
        if self.size == 1 or self.time <= 0:
            return self.size
        return self.size - self.waited / self.time * self.size / (self.size - 1)


class Crew:
    """Chooses the number of threads for steps of one kind, from what earlier ones took.

    `size` is for the next step; `observe` reports how that went. Nothing here reads a clock.
    """

    def __init__(self, full: int) -> None:
        self.full = full
        self._settled = _Steps(full)
        self._trial: _Steps | None = None
        self._losses = 0
        self._resting = FIRST_REST

    @property
    def size(self) -> int:
        """The number of threads for the next step, from 1 to `full`."""
        return (self._trial or self._settled).size

    def observe(self, tokens: int, time: int, waited: int) -> None:
        """A step of `tokens` tokens took `time`, in which its threads waited for each other `waited` in all."""
        if self._trial is None:
            self._settled.add(tokens, time, waited, _MEMORY)
            self._resting -= 1
            if self._resting <= 0:
                self._start_trial()
        else:
            self._trial.add(tokens, time, waited, 1.0)
            self._judge(self._trial)

    def _start_trial(self) -> None:
        """Try fewer threads if many waits promise something, else one more if there is one.

        One less helps beside a neighbour, half as many where threads outnumber cores: by turns.
        """
        size, worth = self._settled.size, self._settled.worth
        if worth <= size // 2 and self._losses % 2:
            self._trial = _Steps(size // 2)
        elif worth <= size - 1:
            self._trial = _Steps(size - 1)
        elif size < self.full:
            self._trial = _Steps(size + 1)

    def _judge(self, trial: _Steps) -> None:
        """End a trial that has won, or that has already lost."""
        settled = self._settled
        allowed = settled.time * trial.tokens / trial.count * TRIAL_STEPS
        if trial.size < settled.size:
            allowed *= _GAIN
        if trial.time * settled.tokens > allowed:
            self._losses += 1
            self._trial, self._resting = None, min(FIRST_REST << self._losses, LONGEST_REST)
        elif trial.count == TRIAL_STEPS:
            self._losses = 0
            self._settled, self._trial, self._resting = trial, None, FIRST_REST
