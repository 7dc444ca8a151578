"""The loop: who gets which logits, what an error ends, and how it stops."""

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
from realizar.errors import (
    DeadlineExceeded,
    EngineFailed,
    QueueFull,
    RealizarError,
    StepFailed,
)
from realizar.trace import Tracer

WAIT_S = 20
NARROW = Bucket(8, 4, 4)


class FakeRunner:
    """Gives row i the logits [token id, position]; fails on token 13; can be held at its gate."""

    def __init__(self) -> None:
        self.steps: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def run(self, chunks: list[Chunk]) -> list[np.ndarray]:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        self.steps.append([chunk.count for chunk in chunks])
        rows = []
        for chunk in chunks:
            sequence = chunk.sequence
            end = sequence.num_computed + chunk.count
            if 13 in sequence.token_ids[sequence.num_computed : end]:
                raise RuntimeError("device lost")
            positions = range(end - chunk.num_rows, end)
            rows.append(np.array([[sequence.token_ids[p], p] for p in positions], np.float32).reshape(-1, 2))
            sequence.num_computed = end
        return rows


class Request:
    """Counts up from the last prompt token until `output` tokens are there."""

    def __init__(self, prompt: list[int], output: int = 3, *, raises_at: int | None = None, total: int | None = None):
        self.output, self.raises_at = output, raises_at
        self.seen: list[tuple[float, float]] = []
        self.error: BaseException | None = None
        self.done = threading.Event()
        self.thread: str | None = None
        self.sequence = Sequence(list(prompt), total or len(prompt) + output, self._on_logits, self._on_error)

    def _on_logits(self, rows: np.ndarray) -> int | None:
        self.thread = threading.current_thread().name
        self.seen.append(tuple(rows[-1]))
        if len(self.seen) == self.raises_at:
            raise ValueError("no token")
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

    def __init__(
        self, limit: Bucket = NARROW, num_blocks: int = 32, tracer: Tracer | None = None, max_waiting: int | None = None
    ) -> None:
        self.runner, self.scheduler = FakeRunner(), Scheduler(limit, BlockManager(num_blocks, 4))
        self.released: list[str] = []
        self.engine = Engine(
            self.runner, self.scheduler, tracer, lambda: self.released.append(threading.current_thread().name),
            max_waiting,
        )  # fmt: skip

    def submit(self, *requests: Request) -> None:
        for request in requests:
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


def test_each_token_follows_from_the_one_before(bench):
    request = Request([5, 6, 7], output=4)
    bench.submit(request)
    request.wait()
    bench.settle()
    assert request.seen == [(7, 2), (8, 3), (9, 4), (10, 5)]
    assert request.sequence.token_ids == [5, 6, 7, 8, 9, 10]
    assert request.thread == "realizar-engine"
    assert bench.scheduler.blocks.num_free == 32


def test_a_prompt_in_chunks_gives_its_last_logits_once(bench):
    request = Request(list(range(100, 120)), output=1)
    bench.submit(request)
    request.wait()
    assert request.seen == [(119, 19)]
    assert bench.runner.steps == [[8], [8], [4]]


def test_requests_share_steps(bench):
    bench.runner.gate.clear()
    first, second = Request([1], output=3), Request([50], output=3)
    bench.submit(first)
    assert bench.runner.entered.wait(WAIT_S)
    bench.submit(second)
    bench.runner.gate.set()
    first.wait()
    second.wait()
    assert [1, 1] in bench.runner.steps
    assert (first.seen[-1], second.seen[-1]) == ((3, 2), (52, 2))


def test_an_exception_in_sampling_ends_that_request_alone(bench):
    bench.runner.gate.clear()
    bad, good = Request([1], output=5, raises_at=2), Request([50], output=5)
    bench.submit(bad, good)
    bench.runner.gate.set()
    assert isinstance(bad.wait().error, ValueError)
    assert good.wait().error is None
    bench.settle()
    assert len(bad.seen) == 2
    assert bench.scheduler.blocks.num_free == 32


def test_a_failed_step_ends_its_requests_and_nothing_else(bench, caplog):
    bench.runner.gate.clear()
    long = Request(list(range(100, 107)), output=2)
    bench.submit(long)
    assert bench.runner.entered.wait(WAIT_S)
    bad, beside = Request([13], output=2), Request([1], output=2)
    bench.submit(bad, beside)
    bench.runner.gate.set()
    for request in (bad, beside, long):
        assert isinstance(request.wait().error, StepFailed)
    later = Request([60], output=2)
    bench.submit(later)
    assert later.wait().seen == [(60, 0), (61, 1)]
    bench.settle()
    assert bench.scheduler.blocks.num_free == 32
    assert "a step of 3 sequences failed" in caplog.text


def test_cancelling_frees_the_blocks(bench):
    bench.runner.gate.clear()
    request = Request([1, 2], output=60)
    bench.submit(request)
    assert bench.runner.entered.wait(WAIT_S)
    bench.engine.cancel(request.sequence)
    bench.runner.gate.set()
    bench.settle()
    assert request.seen == []
    assert not request.done.is_set()
    assert bench.engine.stats.cancelled == 1
    assert bench.scheduler.blocks.num_free == 32


def test_cancelling_what_still_waits():
    bench = Bench(Bucket(8, 1, 4))
    bench.runner.gate.clear()
    first, second, third = Request([1], output=2), Request([2], output=2), Request([3], output=2)
    bench.submit(first, second, third)
    bench.engine.cancel(second.sequence)
    bench.runner.gate.set()
    third.wait()
    assert second.seen == [] and first.done.is_set()
    bench.engine.cancel(second.sequence)
    bench.engine.close()


def test_a_receiver_that_is_gone_harms_nobody(bench, caplog):
    def gone(error: BaseException) -> None:
        raise RuntimeError("event loop is closed")

    bad, good = Request([1], output=5, raises_at=1), Request([50], output=3)
    bad.sequence.on_error = gone
    bench.submit(bad, good)
    assert good.wait().error is None
    assert "could not be told" in caplog.text


def test_more_than_the_cache_holds_is_refused_at_once(bench):
    with pytest.raises(RealizarError, match="33 cache blocks needed, the cache has 32"):
        bench.submit(Request([1], total=129))
    bench.submit(Request([1], output=1, total=128))


def test_closing_tells_open_requests(bench):
    bench.runner.gate.clear()
    running, waiting = [Request([1], output=50, total=60) for _ in range(4)], Request([2], output=50, total=60)
    bench.submit(*running, waiting)
    assert bench.runner.entered.wait(WAIT_S)
    threading.Timer(0.05, bench.runner.gate.set).start()
    bench.engine.close()
    for request in (*running, waiting):
        with pytest.raises(RealizarError, match="closed while the request was running"):
            raise request.wait().error
    with pytest.raises(RealizarError, match="the engine is closed"):
        bench.submit(Request([1]))
    bench.engine.close()
    assert bench.released == ["realizar-engine"]
    assert bench.scheduler.blocks.num_free == 32


def test_its_thread_does_not_keep_the_process_alive(bench):
    bench.submit(Request([1]))
    (thread,) = [t for t in threading.enumerate() if t is bench.engine._thread]
    assert thread.daemon


def test_steps_are_traced_by_phase():
    tracer = Tracer()
    bench = Bench(tracer=tracer)
    lone, longer = Request([5], output=2), Request([6, 7], output=2)
    for request in (lone, longer):
        bench.submit(request)
        request.wait()
    bench.settle()
    bench.engine.close()
    assert (lone.seen, longer.seen) == ([(5, 0), (6, 1)], [(7, 1), (8, 2)])
    assert [(event["name"], event["args"]["tokens"], event["args"]["sequences"]) for event in tracer.events] == [
        ("decode", 1, 1), ("decode", 1, 1), ("prefill", 2, 1), ("decode", 1, 1)
    ]  # fmt: skip


def test_closing_before_the_first_request():
    bench = Bench()
    bench.engine.close()
    assert bench.released == [threading.current_thread().name]
    bench.engine.close()
    assert len(bench.released) == 1


def test_closing_on_its_own_thread_waits_for_the_step():
    """The garbage collector may drop an LLM anywhere, also inside a step."""
    bench = Bench()
    request = Request([1], output=3)
    inner = request.sequence.on_logits

    def closing(rows: np.ndarray) -> int | None:
        bench.engine.close()
        assert bench.released == []
        return inner(rows)

    request.sequence.on_logits = closing
    bench.submit(request)
    assert isinstance(request.wait().error, RealizarError)
    bench.engine.close()
    assert bench.released == ["realizar-engine"]


def test_a_scored_sequence_gets_all_its_rows(bench):
    rows: list[np.ndarray] = []
    done = threading.Event()

    def on_logits(block: np.ndarray) -> None:
        rows.append(block.copy())
        if sum(map(len, rows)) == 10:
            done.set()

    bench.engine.submit(Sequence(list(range(20, 30)), 10, on_logits, lambda error: None, every_position=True))
    assert done.wait(WAIT_S)
    assert np.concatenate(rows)[:, 0].tolist() == list(range(20, 30))
    assert [len(block) for block in rows] == [4, 4, 2]
    bench.settle()


def test_a_full_queue_refuses_and_says_when_to_come_again():
    bench = Bench(Bucket(8, 1, 4), max_waiting=2)
    bench.runner.gate.clear()
    first, *others = [Request([i], output=2) for i in range(4)]
    bench.submit(first)
    assert bench.runner.entered.wait(WAIT_S)
    bench.engine.submit(others[0].sequence, others[1].sequence)
    with pytest.raises(QueueFull, match="2 requests are waiting, as many as may; try again in about 1.0 s") as caught:
        bench.submit(others[2])
    assert (caught.value.num_waiting, caught.value.retry_after_s) == (2, 1.0)
    bench.runner.gate.set()
    for request in (first, *others[:2]):
        request.wait()
    bench.settle()
    bench.submit(others[2])
    others[2].wait()
    assert 0.1 <= bench.engine._retry_after_s() < 1
    bench.engine.close()


def test_of_several_all_are_queued_or_none():
    bench = Bench(max_waiting=2)
    several = [Request([1], output=2) for _ in range(3)]
    with pytest.raises(QueueFull, match="0 requests are waiting"):
        bench.engine.submit(*(request.sequence for request in several))
    assert bench.engine.stats.waiting == 0
    bench.engine.close()


def test_what_is_late_ends_and_leaves_its_blocks_to_others(bench):
    bench.runner.gate.clear()
    late, other = Request(list(range(1, 6)), output=3), Request([50], output=3)
    bench.submit(late, other)
    assert bench.runner.entered.wait(WAIT_S)
    late.sequence.deadline_s = late.sequence.arrival_s + 1e-6
    bench.runner.gate.set()
    error = late.wait().error
    assert isinstance(error, DeadlineExceeded)
    assert error.allowed_s == pytest.approx(1e-6, abs=1e-9)
    assert error.num_generated == 1
    assert other.wait().error is None
    bench.settle()
    assert (bench.engine.stats.blocks_free, bench.engine.stats.blocks_cached) == (32, 1)
    assert (bench.engine.stats.failed, bench.engine.stats.finished) == (1, 1)


def test_what_a_failed_request_computed_is_found_by_nobody(bench):
    bad = Request(list(range(100, 109)), output=3, raises_at=1)
    bench.submit(bad)
    bad.wait()
    bench.settle()
    assert bench.engine.stats.blocks_cached == 0
    good = Request(list(range(100, 109)), output=1)
    bench.submit(good)
    good.wait()
    bench.settle()
    assert good.sequence.prefix.cached_tokens == 0
    assert bench.engine.stats.blocks_cached == 2


def test_numbers(bench):
    first, second = Request(list(range(100, 109)), output=3), Request(list(range(100, 109)), output=3)
    for request in (first, second):
        bench.submit(request)
        request.wait()
        bench.settle()
    stats = bench.engine.stats
    assert (stats.running, stats.waiting, stats.finished, stats.failed, stats.cancelled) == (0, 0, 2, 0, 0)
    assert (stats.prefix_queries, stats.prefix_hits, stats.preemptions) == (18, 8, 0)
    assert (stats.computed_tokens, stats.generated_tokens) == (9 + 2 + 1 + 2, 6)
    assert (stats.steps, stats.step_tokens) == (2 + 2 + 1 + 2, 1)
    assert (stats.blocks_total, stats.blocks_used, stats.blocks_free, stats.blocks_cached) == (32, 0, 32, 2)
    assert 0 < stats.step_s < WAIT_S


def test_numbers_while_it_works(bench):
    bench.runner.gate.clear()
    bench.submit(*(Request([1], output=50, total=60) for _ in range(6)))
    assert bench.runner.entered.wait(WAIT_S)
    stats = bench.engine.stats
    assert stats.running + stats.waiting == 6
    assert stats.running >= 1
    assert (stats.blocks_used, stats.blocks_free) == (stats.running, 32 - stats.running)


class TestFailure:
    """The thread itself ends."""

    @pytest.fixture
    def failed(self, bench, monkeypatch, caplog):
        """A bench whose scheduler fails while two requests are open."""
        bench.runner.gate.clear()
        running, waiting = Request([1], output=50, total=60), Request([2], output=50, total=60)
        bench.submit(running)
        assert bench.runner.entered.wait(WAIT_S)
        bench.submit(waiting)
        with monkeypatch.context() as patch:
            patch.setattr(bench.scheduler, "schedule", lambda: 1 // 0)
            bench.runner.gate.set()
            errors = [request.wait().error for request in (running, waiting)]
        assert "the engine's thread failed" in caplog.text
        return bench, errors

    def test_everybody_is_told(self, failed):
        bench, errors = failed
        assert not bench.engine.alive
        for error in errors:
            assert isinstance(error, EngineFailed)
            assert isinstance(error.__cause__, ZeroDivisionError)
        with pytest.raises(EngineFailed, match="must be restarted"):
            bench.submit(Request([1]))
        assert bench.released == []

    def test_it_can_be_restarted(self, failed):
        bench, _ = failed
        bench.engine.restart()
        assert bench.engine.alive
        request = Request([5], output=2)
        bench.submit(request)
        assert request.wait().seen == [(5, 0), (6, 1)]
        bench.settle()
        assert (bench.engine.stats.blocks_free, bench.engine.stats.running) == (32, 0)

    def test_it_can_be_closed(self, failed):
        bench, _ = failed
        bench.engine.close()
        bench.engine.close()
        assert bench.released == [threading.current_thread().name]

    def test_restarting_what_has_not_failed_changes_nothing(self, bench):
        request = Request([5], output=2)
        bench.submit(request)
        thread = bench.engine._thread
        bench.engine.restart()
        assert bench.engine._thread is thread
        request.wait()

    def test_alive_until_closed(self, bench):
        assert bench.engine.alive
        bench.engine.close()
        assert not bench.engine.alive


class TestBetweenSteps:
    """Work on the engine's thread that is no step."""

    def test_it_runs_on_the_engines_thread(self, bench):
        assert bench.engine.between_steps(lambda: threading.current_thread().name) == "realizar-engine"

    def test_it_waits_for_the_step_in_flight(self, bench):
        bench.runner.gate.clear()
        request = Request([1], output=2)
        bench.submit(request)
        assert bench.runner.entered.wait(WAIT_S)
        threading.Timer(0.05, bench.runner.gate.set).start()
        assert bench.engine.between_steps(lambda: len(bench.runner.steps)) >= 1
        request.wait()

    def test_what_it_raises_harms_nobody(self, bench):
        with pytest.raises(ZeroDivisionError):
            bench.engine.between_steps(lambda: 1 // 0)
        request = Request([1], output=2)
        bench.submit(request)
        assert request.wait().error is None

    @pytest.mark.parametrize("how", ["close", "failure"])
    def test_who_still_waits_is_told(self, bench, how, monkeypatch):
        bench.runner.gate.clear()
        bench.submit(Request([1], output=50, total=60))
        assert bench.runner.entered.wait(WAIT_S)
        errors: list[Exception] = []

        def ask() -> None:
            try:
                bench.engine.between_steps(lambda: None)
            except RealizarError as error:
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while not bench.engine._calls:
            time.sleep(0.002)
        if how == "close":
            threading.Timer(0.05, bench.runner.gate.set).start()
            bench.engine.close()
        else:
            monkeypatch.setattr(bench.scheduler, "computed", lambda chunks: 1 // 0)
            bench.runner.gate.set()
        thread.join(WAIT_S)
        assert type(errors[0]) is (RealizarError if how == "close" else EngineFailed)
