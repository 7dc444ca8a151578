"""Steps that fail and pass, give no numbers, or do not end; and what is switched while the engine runs."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from realizar.backend import Bucket
from realizar.engine.block_manager import BlockManager
from realizar.engine.engine import Engine
from realizar.engine.scheduler import Scheduler
from realizar.engine.sequence import Chunk, Sequence
from realizar.errors import CorruptedLogits, StepFailed, TransientFault

WAIT_S = 20


class FakeRunner:
    """Gives row i the logits [token id, position]; can be held at its gate."""

    def __init__(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()

    def run(self, chunks: list[Chunk]) -> list[np.ndarray]:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        rows = []
        for chunk in chunks:
            sequence = chunk.sequence
            sequence.num_computed += chunk.count
            positions = range(sequence.num_computed - chunk.num_rows, sequence.num_computed)
            rows.append(np.array([[sequence.token_ids[p], p] for p in positions], np.float32).reshape(-1, 2))
        return rows


class Request:
    """Counts up from the last prompt token until `output` tokens are there."""

    def __init__(self, prompt: list[int], output: int = 3, *, total: int | None = None) -> None:
        self.output, self.done = output, threading.Event()
        self.seen: list[tuple[float, float]] = []
        self.error: BaseException | None = None
        self.sequence = Sequence(list(prompt), total or len(prompt) + output, self._on_logits, self._on_error)

    def _on_logits(self, rows: np.ndarray) -> int | None:
        self.seen.append(tuple(rows[-1]))
        if len(self.seen) == self.output:
            self.done.set()
            return None
        return int(rows[-1][0]) + 1

    def _on_error(self, error: BaseException) -> None:
        self.error = error
        self.done.set()

    def wait(self) -> Request:
        assert self.done.wait(WAIT_S), "no answer"
        return self


class Bench:
    """An engine over a fake runner."""

    def __init__(self) -> None:
        self.runner, self.scheduler = FakeRunner(), Scheduler(Bucket(8, 4, 4), BlockManager(32, 4))
        self.engine = Engine(self.runner, self.scheduler)

    def submit(self, request: Request) -> None:
        self.engine.submit(request.sequence)

    def settle(self) -> None:
        """Wait until nothing is left to do."""
        deadline = time.monotonic() + WAIT_S
        while self.scheduler.has_work:
            assert time.monotonic() < deadline, "the engine still works"
            time.sleep(0.002)


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.runner.gate.set()
    bench.engine.close()


@pytest.fixture
def strike(bench):
    """Lets the next steps fail, each with one of these errors."""
    run = bench.runner.run

    def strike(*errors: Exception) -> None:
        left = list(errors)

        def failing(chunks: list[Chunk]) -> list[np.ndarray]:
            if left:
                raise left.pop(0)
            return run(chunks)

        bench.runner.run = failing

    return strike


def test_a_fault_that_passes_is_tried_once_more_and_leaves_no_trace(bench, strike):
    strike(TransientFault("busy"))
    request = Request([5, 6], output=3)
    bench.submit(request)
    assert request.wait().error is None
    assert request.seen == [(6, 1), (7, 2), (8, 3)]
    assert (bench.engine.stats.retried, bench.engine.stats.failed) == (1, 0)


def test_a_fault_that_stays_is_the_request_s_error(bench, strike):
    strike(TransientFault("busy"), TransientFault("busy again"))
    request = Request([5, 6])
    bench.submit(request)
    assert str(request.wait().error) == "busy again"
    assert (bench.engine.stats.retried, bench.engine.stats.failed) == (1, 1)


def test_no_other_failure_is_tried_again(bench, strike):
    strike(RuntimeError("lost"))
    request = Request([5, 6])
    bench.submit(request)
    error = request.wait().error
    assert isinstance(error, StepFailed)
    assert str(error) == "a step of the engine failed: RuntimeError: lost"
    assert isinstance(error.__cause__, RuntimeError)
    assert bench.engine.stats.retried == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_no_numbers_never_reach_who_wants_every_position(bench, bad):
    run = bench.runner.run

    def spoiled(chunks: list[Chunk]) -> list[np.ndarray]:
        return [np.where(rows == 101, np.float32(bad), rows) for rows in run(chunks)]

    bench.runner.run = spoiled
    request = Request([100, 101, 102], output=5, total=3)
    request.sequence.every_position = True
    bench.submit(request)
    error = request.wait().error
    assert isinstance(error, CorruptedLogits)
    assert "1 of 6 numbers" in str(error)
    assert (request.seen, bench.engine.stats.corrupted) == ([], 1)


def test_a_step_that_goes_on_is_seen(bench):
    assert bench.engine.stats.current_step_s == 0
    bench.runner.gate.clear()
    request = Request([1], output=1)
    bench.submit(request)
    assert bench.runner.entered.wait(WAIT_S)
    time.sleep(0.02)
    assert bench.engine.stats.current_step_s >= 0.02
    bench.runner.gate.set()
    request.wait()
    bench.settle()
    assert bench.engine.stats.current_step_s == 0
    assert bench.engine.stats.busy_s >= 0.02


def test_the_prefix_cache_can_be_switched_while_it_runs(bench):
    def cached() -> int:
        request = Request(list(range(100, 109)), output=1)
        bench.submit(request)
        request.wait()
        bench.settle()
        return request.sequence.prefix.cached_tokens

    assert [cached(), cached()] == [0, 8]
    bench.engine.switch_prefix_cache(False)
    assert [cached(), cached()] == [0, 0]
    assert not bench.engine.prefix_cache
    bench.engine.switch_prefix_cache(True)
    assert [cached(), cached()] == [0, 8]
    assert bench.engine.stats.blocks_free == 32
