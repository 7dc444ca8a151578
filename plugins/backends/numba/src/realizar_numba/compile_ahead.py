"""Kernels that the cache lacks, compiled by several processes at once: within one process Numba compiles alone.

What a process cannot do is left to whoever needs the kernel, where it fails aloud.
"""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
import threading
from ast import literal_eval
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import attrs

from realizar.progress import Progress

log = logging.getLogger(__name__)


@attrs.frozen
class Wanted:
    """A kernel to be compiled: what its user calls it, what builds it, and with which literals."""

    label: str
    build: Callable[..., Callable[..., Any]]
    config: tuple[Any, ...]

    @property
    def line(self) -> str:
        """The same as a line of text for another process."""
        return repr((self.build.__module__, self.build.__qualname__, self.config))


def compile_ahead(wanted: Sequence[Wanted], directory: Path, processes: int, progress: Progress) -> None:
    """Compile all of `wanted` into the cache in `directory`, each in one of so many processes."""
    queue: SimpleQueue[Wanted] = SimpleQueue()
    for kernel in wanted:
        queue.put(kernel)
    lock, done = threading.Lock(), [0]

    def announce(kernel: Wanted) -> None:
        with lock:
            done[0] += 1
            progress(f"compiling {kernel.label}", done[0], len(wanted))

    workers = [_start(directory) for _ in range(min(processes, len(wanted)))]
    threads = [threading.Thread(target=_feed, args=(worker, queue, announce), daemon=True) for worker in workers]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _start(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", __name__, str(directory)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _feed(worker: subprocess.Popen[str], queue: SimpleQueue[Wanted], announce: Callable[[Wanted], None]) -> None:
    """Give one process kernel after kernel until none is left, or it is gone."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    while True:
        try:
            kernel = queue.get_nowait()
        except Empty:
            return
        announce(kernel)
        try:
            worker.stdin.write(kernel.line + "\n")
            worker.stdin.flush()
        except OSError:
            answer = ""
        else:
            answer = worker.stdout.readline()
        if not answer:
            log.info("a process that compiles ahead ended early; %s is compiled where it is used", kernel.label)
            return


def main(directory: str) -> None:
    """Compile what standard input names, a kernel a line, and answer each with a line."""
    from realizar_numba.cache import CodeCache
    from realizar_numba.kernels.compiled import compile_function
    from realizar_numba.linker import ObjectCode, machine

    cache = CodeCache(Path(directory))
    for line in sys.stdin:
        module, name, config = literal_eval(line)
        path = cache.path((module, name, *config), machine())
        if path is None:
            return
        build = getattr(importlib.import_module(module), name)
        cache.write(path, ObjectCode.of(compile_function(build(*config))))
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
