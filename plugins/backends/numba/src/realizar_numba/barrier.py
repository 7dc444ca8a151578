"""How threads wait: for each other at a barrier, and for work between steps.

Both waits spin for some microseconds and then sleep in the kernel, so that a busy neighbour costs a time slice and not
a collapse. Barriers note how long they made threads wait.
"""

from __future__ import annotations

from realizar_numba.simd.jit import compiled
from realizar_numba.simd.sync import atomic_add, atomic_load, atomic_store, cycles, pause, sleep_while, wake_all

MEETING_NBYTES = 128
"""What the threads of a barrier share: how many have arrived in all, and how many of them sleep."""

LINE_NBYTES = 64
"""A thread's own cache line: the epoch it was told, whether it sleeps until the next, cycles waited at barriers."""

EPOCH_STEP = 1 << 16
"""An epoch is a sequence number times EPOCH_STEP plus the number of threads that run; none means stop."""

_ARRIVED, _SLEEPERS = 0, 64
_EPOCH, _IDLES, _WAITED = 0, 8, 16

_BARRIER_SPINS = 4000
_IDLE_SPINS = 20000


@compiled
def arrived(meeting):
    """How many threads have arrived so far. The count only grows: nothing is ever reset."""
    return atomic_load(meeting + _ARRIVED)


@compiled
def waited(line):
    """Cycles that a thread has waited at barriers so far."""
    return atomic_load(line + _WAITED)


@compiled
def meet(meeting, line, target):
    """Arrive, and wait until `target` threads have arrived in all."""
    if atomic_add(meeting + _ARRIVED, 1) + 1 >= target:
        if atomic_add(meeting + _SLEEPERS, 0) > 0:
            wake_all(meeting + _ARRIVED)
        return
    start, spins = cycles(), 0
    while atomic_load(meeting + _ARRIVED) < target:
        spins += 1
        if spins < _BARRIER_SPINS:
            pause()
            continue
        atomic_add(meeting + _SLEEPERS, 1)
        found = atomic_load(meeting + _ARRIVED)
        if found < target:
            sleep_while(meeting + _ARRIVED, found)
        atomic_add(meeting + _SLEEPERS, -1)
    atomic_store(line + _WAITED, atomic_load(line + _WAITED) + cycles() - start)


@compiled
def await_epoch(line, seen):
    """Wait until the epoch is no longer `seen`; the new one."""
    spins = 0
    while True:
        epoch = atomic_load(line + _EPOCH)
        if epoch != seen:
            return epoch
        spins += 1
        if spins < _IDLE_SPINS:
            pause()
            continue
        atomic_add(line + _IDLES, 1)
        if atomic_load(line + _EPOCH) == seen:
            sleep_while(line + _EPOCH, seen)
        atomic_add(line + _IDLES, -1)


@compiled
def announce(line, num_threads):
    """Tell the thread of a line the next epoch, of `num_threads` threads."""
    epoch = (atomic_load(line + _EPOCH) // EPOCH_STEP + 1) * EPOCH_STEP + num_threads
    atomic_store(line + _EPOCH, epoch)
    if atomic_add(line + _IDLES, 0) > 0:
        wake_all(line + _EPOCH)
