"""Threads that live as long as their backend and run programs side by side.

A program is a table of phases; every thread runs each phase as number `thread` of `num_threads` and meets the
others at barriers. Plain `threading.Thread`s run one compiled function without the GIL for life: Numba's own
threading layers are never used, so concurrent callers cannot meet in them. A program that runs often gets fewer
threads while others need the cores (`crew.py`); the bits do not depend on it.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar_numba.barrier import EPOCH_STEP, LINE_NBYTES, MEETING_NBYTES, announce, arrived, await_epoch, meet, waited
from realizar_numba.crew import Crew
from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import address, aligned_zeros
from realizar_numba.records import reader, record
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import load_i64, store_i64
from realizar_numba.simd.sync import call_address, cycles

ALWAYS, IF_SHARED, NEVER = 1, 2, 0
"""Barriers after a phase; IF_SHARED: only when the step has several tokens (else each thread made its own copy)."""

PHASE = record("function", "arguments", "barrier")
"""A row of a program."""

_read_phase, _PHASE_NBYTES = reader(PHASE), PHASE.itemsize

# Byte offsets into the control block: the meeting, what a run needs and leaves, and a line for each thread.
_PROGRAM, _LENGTH, _NUM_TOKENS, _BASE, _MEMBERS, _CYCLES, _WAITED = range(MEETING_NBYTES, MEETING_NBYTES + 56, 8)
_LINES = MEETING_NBYTES + 64


@compiled
def _line(control, thread):
    return control + _LINES + thread * LINE_NBYTES


@compiled
def _run_phases(thread, num_threads, control):
    program, length = load_i64(control + _PROGRAM), load_i64(control + _LENGTH)
    shared = load_i64(load_i64(control + _NUM_TOKENS)) > 1
    target, line = load_i64(control + _BASE), _line(control, thread)
    for i in range(length):
        phase = _read_phase(program + i * _PHASE_NBYTES)
        call_address(phase.function, (thread, num_threads, phase.arguments))
        if num_threads > 1 and (phase.barrier == ALWAYS or (phase.barrier == IF_SHARED and shared)):
            target += num_threads
            meet(control, line, target)


@compiled
def _lead(num_threads, control):
    """Run the program as thread 0; leaves the cycles that it took, and those that all threads have waited so far."""
    start, members = cycles(), load_i64(control + _MEMBERS)
    store_i64(control + _BASE, arrived(control))
    for thread in range(1, num_threads if num_threads > 0 else members):
        announce(_line(control, thread), num_threads)
    if num_threads > 0:
        _run_phases(0, num_threads, control)
    total = 0
    for thread in range(members):
        total += waited(_line(control, thread))
    store_i64(control + _WAITED, total)
    store_i64(control + _CYCLES, cycles() - start)


def build_life() -> Callable[..., Any]:
    """What a thread does: number 0 runs one program with `num_threads` threads (0: ends them) and returns;

    the others run every program that they are part of.
    """

    @whole
    def live(thread, num_threads, control):
        if thread == 0:
            _lead(num_threads, control)
            return
        seen = 0
        while True:
            seen = await_epoch(_line(control, thread), seen)
            if seen % EPOCH_STEP == 0:
                return
            _run_phases(thread, seen % EPOCH_STEP, control)

    return live


@attrs.frozen(eq=False)
class Table:
    """A program in memory: an array of PHASE whose last barrier is ALWAYS, and what its runs taught the pool."""

    phases: NDArray[Any]
    address: int
    length: int
    crews: dict[int, Crew] = attrs.field(factory=dict, init=False)
    """By the bits of the number of tokens: a lone token is limited by other things than a prompt."""

    def crew(self, num_threads: int, tokens: int) -> Crew:
        """The crew for steps of about so many tokens, of at most `num_threads` threads."""
        kind = tokens.bit_length()
        if kind not in self.crews:
            self.crews[kind] = Crew(num_threads)
        return self.crews[kind]


class ThreadPool:
    """`num_threads` threads, the caller among them. `run` may be called from several threads: one at a time runs.

    The others start with the first run; they end with `close`, with the pool, or with the interpreter.
    """

    def __init__(self, num_threads: int, kernels: Kernels) -> None:
        self.num_threads = num_threads
        self._life = kernels.function("thread pool", build_life)
        self._threads: _Threads | None = None
        self._reset()

    def run(self, program: Table, num_tokens: int) -> None:
        """Run the phases of a program; num_tokens is the address of an int64."""
        if self._process_id != os.getpid():  # a fork: the threads stayed with the parent
            self._reset()
        with self._lock:
            if self._threads is None:
                self._threads = _Threads(self.num_threads, self._life)
                self._end = weakref.finalize(self, self._threads.end)
            tokens = ctypes.c_int64.from_address(num_tokens).value
            crew = program.crew(self.num_threads, tokens)
            time, waited = self._threads.run(program, num_tokens, crew.size)
            crew.observe(tokens, time, waited)

    def close(self) -> None:
        """End and join the threads; a later `run` makes new ones."""
        if self._process_id == os.getpid():
            with self._lock:
                if self._threads is not None:
                    self._end()
                    self._threads = None

    def _reset(self) -> None:
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._threads = None


class _Threads:
    """Running threads and the control block through which they hear of programs."""

    def __init__(self, num_threads: int, life: Any) -> None:
        self._life, self._process_id = life, os.getpid()
        self._control = aligned_zeros(_LINES + num_threads * LINE_NBYTES).view(np.int64)
        self._control[_MEMBERS // 8] = num_threads
        self._address = address(self._control)
        self._waited = 0
        self.running = [self._start(number) for number in range(1, num_threads)]

    def _start(self, number: int) -> threading.Thread:
        arguments = (number, 0, self._address)
        thread = threading.Thread(target=self._life, args=arguments, name=f"realizar-numba-{number}", daemon=True)
        thread.start()
        return thread

    def run(self, program: Table, num_tokens: int, num_threads: int) -> tuple[int, int]:
        """Run a program on the caller as thread 0 and the first of the others; its cycles, and those waited in it."""
        self._control[_PROGRAM // 8] = program.address
        self._control[_LENGTH // 8] = program.length
        self._control[_NUM_TOKENS // 8] = num_tokens
        self._life(0, num_threads, self._address)
        before, self._waited = self._waited, int(self._control[_WAITED // 8])
        return int(self._control[_CYCLES // 8]), self._waited - before

    def end(self) -> None:
        """Stop and join; in a child of the process that started them there is nobody to join."""
        if self._process_id == os.getpid():
            self._life(0, 0, self._address)
            for thread in self.running:
                thread.join()
