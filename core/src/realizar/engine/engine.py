"""The loop: one thread that schedules, steps and hands logits to whoever waits for them."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

import attrs
import numpy as np

from realizar.engine.request_trace import run_traced
from realizar.engine.runner import ModelRunner
from realizar.engine.scheduler import Scheduler
from realizar.engine.sequence import Chunk, Logits, Sequence
from realizar.engine.stats import Counters, EngineStats, SequenceState
from realizar.errors import (
    CorruptedLogits,
    DeadlineExceeded,
    EngineFailed,
    QueueFull,
    RealizarError,
    StepFailed,
    TransientFault,
)
from realizar.trace import Tracer

log = logging.getLogger(__name__)

T = TypeVar("T")

_RECENT = 32
"""Finished sequences from whose rate the time until the queue moves on is told."""


class Engine:
    """Owns the only thread that touches the runner; everybody else submits and cancels sequences.

    release: called once after the last step, to free what the runner uses.
    max_waiting: how many sequences may wait for their first step; None: any number.
    """

    def __init__(
        self, runner: ModelRunner, scheduler: Scheduler, tracer: Tracer | None = None,
        release: Callable[[], None] = lambda: None, max_waiting: int | None = None,
    ) -> None:  # fmt: skip
        self._runner = runner
        self._scheduler = scheduler
        self._tracer = tracer
        self._release = release
        self.max_waiting = max_waiting
        self._changed = threading.Condition()
        self._submitted: deque[Sequence] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closing = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._counters = Counters()
        self._finished_s: deque[float] = deque(maxlen=_RECENT)
        self._step_began_s: float | None = None

    @property
    def alive(self) -> bool:
        """Whether it takes requests: neither closed nor failed."""
        return not self._closing and self._failure is None

    @property
    def stats(self) -> EngineStats:
        """Its numbers; the engine is not stopped for them, so they may be of two adjacent steps."""
        plan, blocks = self._scheduler, self._scheduler.blocks
        free, began_s = blocks.num_free, self._step_began_s
        current_s = 0.0 if began_s is None else time.perf_counter() - began_s
        return EngineStats(
            running=len(plan.running), waiting=len(plan.waiting) + len(self._submitted),
            blocks_total=blocks.num_blocks, blocks_used=blocks.num_blocks - free, blocks_free=free,
            blocks_cached=blocks.num_cached, block_size=blocks.block_size, current_step_s=current_s,
            **attrs.asdict(plan.counters), **attrs.asdict(self._counters),
        )  # fmt: skip

    @property
    def sequences(self) -> list[SequenceState]:
        """Every sequence that is open, those being computed first; of one moment or two adjacent ones."""
        plan = self._scheduler
        waiting = [(sequence, True) for sequence in (*tuple(plan.waiting), *tuple(self._submitted))]
        return [
            SequenceState(
                sequence.request_id, len(sequence.token_ids), sequence.num_computed, sequence.max_total_tokens,
                sequence.priority, waits,
            )
            for sequence, waits in [*((running, False) for running in tuple(plan.running)), *waiting]
        ]  # fmt: skip

    def submit(self, *sequences: Sequence) -> None:
        """Queue sequences, all or none; `on_logits` or `on_error` of each will be called on the engine's thread.

        Raises QueueFull if more would wait than may, EngineFailed until it is restarted.
        """
        needed = max(self._scheduler.blocks.blocks_for(sequence.max_total_tokens) for sequence in sequences)
        if needed > self._scheduler.blocks.num_blocks:
            raise RealizarError(f"{needed} cache blocks needed, the cache has {self._scheduler.blocks.num_blocks}")
        with self._changed:
            self._prove_alive()
            waiting = len(self._submitted) + len(self._scheduler.waiting)
            if self.max_waiting is not None and waiting + len(sequences) > self.max_waiting:
                raise QueueFull(waiting, self._retry_after_s())
            self._submitted.extend(sequences)
            self._wake()

    def between_steps(self, function: Callable[[], T]) -> T:
        """What `function` returns (or raises) on the engine's thread, where nobody else touches the cache."""
        answer: Future[T] = Future()
        with self._changed:
            self._prove_alive()
            self._calls.append((function, answer))
            self._wake()
        return answer.result()

    @property
    def failed(self) -> bool:
        """Whether its thread has failed and it was not restarted since."""
        return self._failure is not None

    @property
    def prefix_cache(self) -> bool:
        """Whether requests find what others computed."""
        return self._scheduler.prefix_cache

    def switch_prefix_cache(self, on: bool) -> None:
        """Before the next step: on, or off and what is kept is forgotten; does not wait for that."""

        def switch() -> None:
            self._scheduler.prefix_cache = on
            if not on:
                self._scheduler.blocks.forget_all()

        with self._changed:
            if self.alive:
                self._calls.append((switch, Future()))
                self._wake()

    def cancel(self, *sequences: Sequence) -> None:
        """Stop computing sequences and free their blocks before the next step."""
        with self._changed:
            for sequence in sequences:
                sequence.cancelled = True
            self._changed.notify()

    def restart(self) -> None:
        """After a failure: take requests again, with an empty cache; otherwise there is nothing to do."""
        with self._changed:
            if self._failure is None or self._thread is None:
                return
            thread = self._thread
        thread.join()
        with self._changed:
            self._thread = self._failure = None

    def close(self) -> None:
        """Stop after the step in flight; open sequences get an error. On the engine's own thread: after this step."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is None:
            self._release_once()
        elif self._thread is not threading.current_thread():
            self._thread.join()
            self._release_once()

    def _release_once(self) -> None:
        with self._changed:
            release, self._release = self._release, lambda: None
        release()

    def _prove_alive(self) -> None:
        if self._closing:
            raise RealizarError("the engine is closed")
        if self._failure is not None:
            raise EngineFailed("the engine's thread has failed; it must be restarted") from self._failure

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="realizar-engine", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _retry_after_s(self) -> float:
        """Seconds in which one sequence finishes, as the last ones did; a second where nothing is known."""
        times = self._finished_s
        return max(0.1, (times[-1] - times[0]) / (len(times) - 1)) if len(times) > 1 else 1.0

    def _loop(self) -> None:
        try:
            while self._collect():
                self._step(self._scheduler.schedule())
        except BaseException as failure:
            log.exception("the engine's thread failed")
            self._give_up(failure)
            return
        closed = RealizarError("the engine was closed while the request was running")
        self._fail(self._all(), closed)
        self._refuse_calls(closed)
        self._release_once()

    def _give_up(self, failure: BaseException) -> None:
        """Tell everybody, and leave nothing of a state that can no longer be trusted."""
        with self._changed:
            self._failure = failure
            sequences = self._all()
            self._submitted.clear()
            self._scheduler.reset()
        error = EngineFailed(f"the engine's thread failed: {type(failure).__name__}: {failure}")
        error.__cause__ = failure
        self._tell(sequences, error)
        self._refuse_calls(error)

    def _refuse_calls(self, error: Exception) -> None:
        while self._calls:
            self._calls.popleft()[1].set_exception(error)

    def _answer_calls(self) -> None:
        while self._calls:
            function, answer = self._calls.popleft()
            try:
                answer.set_result(function())
            except Exception as error:
                answer.set_exception(error)

    def _collect(self) -> bool:
        """Take over what was submitted, drop what was cancelled or is late; waits for work; False when closing."""
        with self._changed:
            while not (self._submitted or self._calls or self._scheduler.has_work or self._closing):
                self._changed.wait()
            while self._submitted:
                self._scheduler.add(self._submitted.popleft())
            closing = self._closing
        if not closing:
            self._answer_calls()
        now, late = time.perf_counter(), []
        for sequence in self._all():
            if sequence.cancelled:
                self._counters.cancelled += 1
                self._scheduler.finish(sequence)
            elif sequence.deadline_s is not None and sequence.deadline_s <= now:
                late.append(sequence)
        for sequence in late:
            allowed_s = (sequence.deadline_s or now) - sequence.arrival_s
            error = DeadlineExceeded(allowed_s, len(sequence.token_ids) - sequence.num_prompt_tokens)
            self._fail([sequence], error, forget=False)
        return not closing

    def _all(self) -> list[Sequence]:
        return [*self._scheduler.running, *self._scheduler.waiting, *self._submitted]

    def _step(self, chunks: list[Chunk]) -> None:
        if not chunks:
            return
        for chunk in chunks:
            chunk.sequence.mark_scheduled()
        self._step_began_s = start = time.perf_counter()
        try:
            logits = self._run_again_if_transient(chunks)
        except Exception as error:
            log.exception("a step of %d sequences failed", len(chunks))
            self._fail([chunk.sequence for chunk in chunks], _typed(error))
            return
        finally:
            self._step_began_s = None
        self._count(chunks, time.perf_counter() - start)
        self._scheduler.computed(chunks)
        for chunk, rows in zip(chunks, logits, strict=True):
            if chunk.num_rows and not chunk.sequence.cancelled:
                self._deliver(chunk, rows)

    def _count(self, chunks: list[Chunk], step_s: float) -> None:
        counters = self._counters
        counters.steps += 1
        counters.step_tokens = sum(chunk.count for chunk in chunks)
        counters.computed_tokens += counters.step_tokens
        counters.step_s = step_s
        counters.busy_s += step_s

    def _run_again_if_transient(self, chunks: list[Chunk]) -> list[Logits]:
        """Once: the step wrote nothing but its own places in the cache, and nobody has been told anything of it."""
        try:
            return self._run(chunks)
        except TransientFault as fault:
            log.warning("a step of %d sequences failed and is tried again: %s", len(chunks), fault)
            self._counters.retried += 1
            return self._run(chunks)

    def _run(self, chunks: list[Chunk]) -> list[Logits]:
        is_traced = any(chunk.sequence.trace is not None for chunk in chunks)
        run = functools.partial(run_traced, self._runner) if is_traced else self._runner.run
        if self._tracer is None:
            return run(chunks)
        tokens = sum(chunk.count for chunk in chunks)
        phase = "prefill" if any(chunk.count > 1 for chunk in chunks) else "decode"
        with self._tracer.span(phase, tokens=tokens, sequences=len(chunks)):
            return run(chunks)

    def _deliver(self, chunk: Chunk, rows: Logits) -> None:
        """Give a sequence its logits and append what it chose; an exception ends that sequence alone."""
        sequence = chunk.sequence
        sequence.num_given = sequence.num_computed
        try:
            goes_on = self._accept(chunk, rows) if chunk.num_drafts else self._hand_over(sequence, rows)
        except Exception as error:
            self._counters.corrupted += isinstance(error, CorruptedLogits)
            self._fail([sequence], error)
            return
        if not goes_on and chunk.completes:
            self._counters.finished += 1
            self._finished_s.append(time.perf_counter())
            self._scheduler.finish(sequence)

    def _hand_over(self, sequence: Sequence, rows: Logits) -> bool:
        """Give a sequence logits and append what it chose; False when it chose nothing more."""
        if sequence.every_position and not np.isfinite(rows).all():
            raise CorruptedLogits(f"logits: {np.sum(~np.isfinite(rows))} of {rows.size} numbers are not finite")
        token_id = sequence.on_logits(rows)
        self._counters.generated_tokens += not sequence.every_position
        if token_id is not None:
            sequence.token_ids.append(token_id)
        return token_id is not None

    def _accept(self, chunk: Chunk, rows: Logits) -> bool:
        """Row by row, as long as what is chosen is what was guessed: then the next row is what a step of its own gives.

        What the cache holds of wrong guesses is written over by the tokens that come instead.
        """
        sequence, drafts = chunk.sequence, chunk.sequence.drafts
        for i in range(chunk.num_rows):
            if not self._hand_over(sequence, rows[i : i + 1]):
                return False
            if i < len(drafts) and sequence.token_ids[-1] != drafts[i]:
                break
            self._counters.accepted_tokens += i < len(drafts)
        sequence.num_computed = len(sequence.token_ids) - 1
        return True

    def _fail(self, sequences: list[Sequence], error: Exception, *, forget: bool = True) -> None:
        """End sequences with an error; what they computed is not for others, unless the error is no fault of it."""
        self._counters.failed += len(sequences)
        for sequence in sequences:
            self._scheduler.finish(sequence, forget=forget)
        self._tell(sequences, error)

    @staticmethod
    def _tell(sequences: Iterable[Sequence], error: Exception) -> None:
        for sequence in sequences:
            try:
                sequence.on_error(error)
            except Exception:
                # Whoever waited is gone (a closed event loop); the others must not suffer for it.
                log.exception("a request could not be told of its error: %s", error)


def _typed(error: Exception) -> Exception:
    """What a step raised, as an error of ours."""
    if isinstance(error, RealizarError):
        return error
    failed = StepFailed(f"a step of the engine failed: {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed
