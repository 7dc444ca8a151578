"""Threads that live as long as their backend and run programs side by side.

A program is a table of phases; every thread runs each phase as number `thread` of `num_threads` and meets the
others at barriers. Plain `threading.Thread`s run one compiled function without the GIL for life: Numba's own
threading layers are never used, so concurrent callers cannot meet in them. A wait spins briefly and then
sleeps in the kernel, so that a busy neighbour costs a time slice and not a collapse.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import address, aligned_zeros
from realizar_numba.records import reader, record
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import load_i64
from realizar_numba.simd.sync import (
    atomic_add,
    atomic_load,
    atomic_store,
    call_address,
    pause,
    sleep_while,
    wake_all,
)

ALWAYS, IF_SHARED, NEVER = 1, 2, 0
"""Barriers after a phase; IF_SHARED: only when the step has several tokens (else each thread made its own copy)."""

PHASE = record("function", "arguments", "barrier")
"""A row of a program."""

_read_phase, _PHASE_NBYTES = reader(PHASE), PHASE.itemsize

# Byte offsets into the control block; a cache line for each word that several threads write.
_ARRIVED, _SLEEPERS, _EPOCH, _IDLERS = 0, 64, 128, 192
_PROGRAM, _LENGTH, _NUM_TOKENS, _BASE = 256, 264, 272, 280
_CONTROL_NBYTES = 320

# An epoch word is a sequence number times 2^16 plus the number of threads that run; none means stop.
_EPOCH_STEP = 1 << 16

_BARRIER_SPINS = 4000
_IDLE_SPINS = 20000


@compiled
def _meet(control, target):
    """Arrive, and wait until `target` threads have arrived in all. The count only grows: nothing is ever reset."""
    if atomic_add(control + _ARRIVED, 1) + 1 >= target:
        if atomic_add(control + _SLEEPERS, 0) > 0:
            wake_all(control + _ARRIVED)
        return
    spins = 0
    while atomic_load(control + _ARRIVED) < target:
        spins += 1
        if spins < _BARRIER_SPINS:
            pause()
            continue
        atomic_add(control + _SLEEPERS, 1)
        arrived = atomic_load(control + _ARRIVED)
        if arrived < target:
            sleep_while(control + _ARRIVED, arrived)
        atomic_add(control + _SLEEPERS, -1)


@compiled
def _wait_for_epoch(control, seen):
    """Wait until the epoch is no longer `seen`; the new one."""
    spins = 0
    while True:
        epoch = atomic_load(control + _EPOCH)
        if epoch != seen:
            return epoch
        spins += 1
        if spins < _IDLE_SPINS:
            pause()
            continue
        atomic_add(control + _IDLERS, 1)
        if atomic_load(control + _EPOCH) == seen:
            sleep_while(control + _EPOCH, seen)
        atomic_add(control + _IDLERS, -1)


@compiled
def _start(control, num_threads):
    """Let `num_threads` threads run the program of the control block; with 0, let all of them end."""
    epoch = (atomic_load(control + _EPOCH) // _EPOCH_STEP + 1) * _EPOCH_STEP + num_threads
    atomic_store(control + _EPOCH, epoch)
    if atomic_add(control + _IDLERS, 0) > 0:
        wake_all(control + _EPOCH)


@compiled
def _run_phases(thread, num_threads, control):
    program, length = load_i64(control + _PROGRAM), load_i64(control + _LENGTH)
    shared = load_i64(load_i64(control + _NUM_TOKENS)) > 1
    target = load_i64(control + _BASE)
    for i in range(length):
        phase = _read_phase(program + i * _PHASE_NBYTES)
        call_address(phase.function, (thread, num_threads, phase.arguments))
        if num_threads > 1 and (phase.barrier == ALWAYS or (phase.barrier == IF_SHARED and shared)):
            target += num_threads
            _meet(control, target)


def build_life() -> Callable[..., Any]:
    """What a thread does: number 0 runs one program with `num_threads` threads (0: ends them) and returns;

    the others run every program that they are part of.
    """

    @whole
    def live(thread, num_threads, control):
        if thread == 0:
            atomic_store(control + _BASE, atomic_load(control + _ARRIVED))
            if num_threads != 1:
                _start(control, num_threads)
            if num_threads > 0:
                _run_phases(thread, num_threads, control)
            return
        seen = 0
        while True:
            seen = _wait_for_epoch(control, seen)
            running = seen % _EPOCH_STEP
            if running == 0:
                return
            if thread < running:
                _run_phases(thread, running, control)

    return live


@attrs.frozen
class Table:
    """A program in memory: an array of PHASE whose last barrier is ALWAYS."""

    phases: NDArray[Any]
    address: int
    length: int


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
            self._threads.run(program, num_tokens)

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
        self._num_threads, self._life, self._process_id = num_threads, life, os.getpid()
        self._control = aligned_zeros(_CONTROL_NBYTES).view(np.int64)
        self._address = address(self._control)
        self.running = [self._start(number) for number in range(1, num_threads)]

    def _start(self, number: int) -> threading.Thread:
        arguments = (number, self._num_threads, self._address)
        thread = threading.Thread(target=self._life, args=arguments, name=f"realizar-numba-{number}", daemon=True)
        thread.start()
        return thread

    def run(self, program: Table, num_tokens: int) -> None:
        """Run a program; the caller is thread 0."""
        self._control[_PROGRAM // 8] = program.address
        self._control[_LENGTH // 8] = program.length
        self._control[_NUM_TOKENS // 8] = num_tokens
        self._life(0, self._num_threads, self._address)

    def end(self) -> None:
        """Stop and join; in a child of the process that started them there is nobody to join."""
        if self._process_id == os.getpid():
            self._life(0, 0, self._address)
            for thread in self.running:
                thread.join()
