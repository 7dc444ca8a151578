"""Breaker and accounts by themselves, on a clock of the tests' own."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from realizar.errors import ContextOverflow, CorruptedLogits, EngineFailed, EngineStalled, StepFailed, TransientFault
from realizar_aiohttp.problem import Problem
from realizar_aiohttp.resilience.breaker import Breaker, is_fault
from realizar_aiohttp.resilience.counters import Counters
from realizar_aiohttp.resilience.keys import KeyLedger


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def outcome(breaker: Breaker, error: BaseException | None) -> bool | None:
    """Whether an attempt that ended so opened it; None if there was no leave to try."""
    attempt = breaker.enter()
    return None if attempt is None else breaker.leave(attempt, error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, False), (asyncio.CancelledError(), False), (GeneratorExit(), False), (ContextOverflow(9, 8), False),
        (Problem(status=429, message="", code=""), False), (RuntimeError(), False), (MemoryError(), False),
        (StepFailed(), True),
        (EngineFailed(), True), (EngineStalled(), True), (TransientFault(), True), (CorruptedLogits(), True),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_the_engine_s_fault(error, expected):
    assert is_fault(error) is expected


def test_failures_count_only_within_the_window():
    clock = Clock()
    breaker = Breaker(2, window_s=10, open_s=5, clock=clock)
    for pause, expected in ((0, False), (11, False), (9, True)):
        clock.now_s += pause
        assert outcome(breaker, StepFailed()) is expected
    assert (breaker.state, breaker.retry_after_s) == ("open", 5)
    assert outcome(breaker, None) is None


def test_one_attempt_at_a_time_and_one_that_says_nothing_leaves_it_open():
    clock = Clock()
    breaker = Breaker(1, window_s=10, open_s=5, clock=clock)
    outcome(breaker, StepFailed())
    clock.now_s += 5
    probe = breaker.enter()
    assert probe is not None
    assert breaker.enter() is None
    assert breaker.leave(probe, asyncio.CancelledError()) is False
    assert breaker.state == "half-open"
    assert outcome(breaker, StepFailed()) is True
    assert breaker.state == "open"
    clock.now_s += 5
    assert outcome(breaker, None) is False
    assert breaker.state == "closed"


def test_an_attempt_from_before_does_not_close_it():
    breaker = Breaker(1, window_s=10, open_s=5, clock=Clock())
    early = breaker.enter()
    outcome(breaker, StepFailed())
    assert breaker.leave(early, None) is False
    assert breaker.state == "open"


def test_all_that_one_cause_ended_is_one_failure():
    breaker, cause = Breaker(2, window_s=10, open_s=5, clock=Clock()), RuntimeError()
    for _ in range(5):
        error = EngineFailed()
        error.__cause__ = cause
        assert outcome(breaker, error) is False
    assert outcome(breaker, StepFailed()) is True


requests = st.tuples(st.sampled_from("ab"), st.integers(1, 200), st.floats(0, 1), st.floats(0, 30))


@given(st.lists(requests, max_size=40))
def test_a_key_never_uses_more_than_its_rate_allows(asked):
    clock, used = Clock(), {"a": 0.0, "b": 0.0}
    ledger = KeyLedger(None, 60, Counters(CollectorRegistry()), clock)
    for key, tokens, share, pause in asked:
        clock.now_s += pause
        try:
            ledger.take(key, tokens)
        except Problem as problem:
            retry_after_s = int(problem.headers["Retry-After"])
            clock.now_s += retry_after_s
            ledger.take(key, tokens)  # what it said is true
        ledger.settle(key, tokens, round(tokens * share))
        used[key] += round(tokens * share)
    for total in used.values():
        assert total <= 60 + (clock.now_s - 100) + 200  # a full account, what came back, and one larger request
