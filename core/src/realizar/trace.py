"""Measured spans, written as Chrome-trace JSON (chrome://tracing, Perfetto)."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Tracer:
    """Collects spans from any thread. Source of the format: the Trace Event Format document, "X" events.

    ops: whether each op of a block that is not fused gets a span of its own, which costs a microsecond or two.
    """

    def __init__(self, *, ops: bool = False) -> None:
        self.ops = ops
        self.events: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def span(self, name: str, **args: Any) -> Iterator[None]:
        """Record how long the body took, in microseconds, with `args` beside it."""
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(name, start, time.perf_counter_ns(), **args)

    def add(self, name: str, start_ns: int, end_ns: int, **args: Any) -> None:
        """Record a span whose ends were measured with `time.perf_counter_ns`."""
        self.events.append(
            {
                "name": name,
                "ph": "X",
                "ts": start_ns / 1000,
                "dur": (end_ns - start_ns) / 1000,
                "pid": os.getpid(),
                "tid": threading.get_native_id(),
                "args": args,
            }  # fmt: skip
        )

    def write(self, path: Path) -> None:
        """Write all spans to `path`."""
        path.write_text(json.dumps({"traceEvents": self.events, "displayTimeUnit": "ms"}))
