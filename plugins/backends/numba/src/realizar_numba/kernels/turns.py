"""Work dealt out piece by piece: a thread that is free takes the next, so one that lost its core holds up few others.

Who computes a piece does not change its bits. Phases that take turns have a barrier behind them.
"""

from __future__ import annotations

from realizar_numba.simd.jit import compiled
from realizar_numba.simd.sync import atomic_add, atomic_store

_LINE = 64

TURNS_NBYTES = 2 * _LINE
"""Zeroed memory for turns: how many were taken, and how many threads have left; each in a cache line."""

DEALT_FROM = 32
"""Tokens from which matrices are dealt out; below, the weights come from memory, and in long runs they come faster."""

PIECES_PER_THREAD = 6


@compiled
def take_turn(turns):
    """The number of the next piece that nobody has."""
    return atomic_add(turns, 1)


@compiled
def end_turns(turns, num_threads):
    """Leave; the last thread makes the counters ready for the next phase."""
    if atomic_add(turns + _LINE, 1) == num_threads - 1:
        atomic_store(turns + _LINE, 0)
        atomic_store(turns, 0)


@compiled
def first_share(turns, thread, num_threads, num_rows):
    """(number of pieces, a thread's first one): one for each thread, or more of them that are dealt out."""
    if num_threads > 1 and num_rows >= DEALT_FROM:
        return num_threads * PIECES_PER_THREAD, take_turn(turns)
    return num_threads, thread


@compiled
def next_share(turns, pieces, num_threads):
    """The piece after that; `pieces`, which is none, where each thread had one."""
    return pieces if pieces == num_threads else take_turn(turns)


@compiled
def end_shares(turns, pieces, num_threads):
    """Leave, also if the others took all pieces before this thread came for its first."""
    if pieces != num_threads:
        end_turns(turns, num_threads)
