"""The loop: one thread that schedules, steps and hands logits to whoever waits for them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from realizar.engine.result import EngineStats
from realizar.engine.runner import ModelRunner
from realizar.engine.scheduler import Scheduler
from realizar.engine.sequence import Chunk, Logits, Sequence
from realizar.errors import RealizarError
from realizar.trace import Tracer

log = logging.getLogger(__name__)


class Engine:
    """Owns the only thread that touches the runner; everybody else submits and cancels sequences.

    release: called once after the last step, to free what the runner uses.
    """

    def __init__(
        self, runner: ModelRunner, scheduler: Scheduler, tracer: Tracer | None = None,
        release: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._runner = runner
        self._scheduler = scheduler
        self._tracer = tracer
        self._release = release
        self._changed = threading.Condition()
        self._submitted: deque[Sequence] = deque()
        self._closing = False
        self._thread: threading.Thread | None = None

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence; its `on_logits` or `on_error` will be called on the engine's thread."""
        needed = self._scheduler.blocks.blocks_for(sequence.max_total_tokens)
        if needed > self._scheduler.blocks.num_blocks:
            raise RealizarError(f"{needed} cache blocks needed, the cache has {self._scheduler.blocks.num_blocks}")
        with self._changed:
            if self._closing:
                raise RealizarError("the engine is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="realizar-engine", daemon=True)
                self._thread.start()
            self._submitted.append(sequence)
            self._changed.notify()

    def cancel(self, sequence: Sequence) -> None:
        """Stop computing a sequence and free its blocks before the next step."""
        with self._changed:
            sequence.cancelled = True
            self._changed.notify()

    def stats(self) -> EngineStats:
        """What is held now; any thread may ask, the numbers may be a step old."""
        scheduler, blocks = self._scheduler, self._scheduler.blocks
        waiting = len(scheduler.waiting) + len(self._submitted)
        return EngineStats(
            scheduler.limit.max_seqs, len(scheduler.running), waiting, blocks.num_blocks, blocks.num_free
        )

    def close(self) -> None:
        """Stop after the step in flight; open sequences get an error. On the engine's own thread: after this step."""
        with self._changed:
            first, self._closing = not self._closing, True
            self._changed.notify()
        if self._thread is None:
            if first:
                self._release()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    def _loop(self) -> None:
        while self._collect():
            self._step(self._scheduler.schedule())
        self._fail(self._all(), RealizarError("the engine was closed while the request was running"))
        self._release()

    def _collect(self) -> bool:
        """Take over what was submitted or cancelled, waiting while there is nothing to do; False when closing."""
        with self._changed:
            while not (self._submitted or self._scheduler.has_work or self._closing):
                self._changed.wait()
            while self._submitted:
                self._scheduler.add(self._submitted.popleft())
            for sequence in [s for s in self._all() if s.cancelled]:
                self._scheduler.finish(sequence)
            return not self._closing

    def _all(self) -> list[Sequence]:
        return [*self._scheduler.running, *self._scheduler.waiting, *self._submitted]

    def _step(self, chunks: list[Chunk]) -> None:
        if not chunks:
            return
        for chunk in chunks:
            chunk.sequence.mark_scheduled()
        try:
            logits = self._run(chunks)
        except Exception as error:
            log.exception("a step of %d sequences failed", len(chunks))
            self._fail([chunk.sequence for chunk in chunks], error)
            return
        for chunk, rows in zip(chunks, logits, strict=True):
            if chunk.num_rows and not chunk.sequence.cancelled:
                self._deliver(chunk, rows)

    def _run(self, chunks: list[Chunk]) -> list[Logits]:
        if self._tracer is None:
            return self._runner.run(chunks)
        tokens = sum(chunk.count for chunk in chunks)
        phase = "prefill" if any(chunk.count > 1 for chunk in chunks) else "decode"
        with self._tracer.span(phase, tokens=tokens, sequences=len(chunks)):
            return self._runner.run(chunks)

    def _deliver(self, chunk: Chunk, rows: Logits) -> None:
        """Give a sequence its logits and append what it chose; an exception ends that sequence alone."""
        sequence = chunk.sequence
        try:
            token_id = sequence.on_logits(rows)
        except Exception as error:
            self._fail([sequence], error)
            return
        if token_id is not None:
            sequence.token_ids.append(token_id)
        elif chunk.completes:
            self._scheduler.finish(sequence)

    def _fail(self, sequences: list[Sequence], error: Exception) -> None:
        for sequence in sequences:
            self._scheduler.finish(sequence)
            try:
                sequence.on_error(error)
            except Exception:
                # Whoever waited is gone (a closed event loop); the others must not suffer for it.
                log.exception("a request could not be told of its error: %s", error)
