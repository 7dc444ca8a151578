"""Matrices dealt out piece by piece: every piece once, whoever takes it, time after time."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from numba import njit

from realizar.backend import BackendOptions
from realizar.dtypes import dtype
from realizar.testing.models import memory_tensor, random_weights
from realizar_numba.backend import NumbaBackend
from realizar_numba.kernels.turns import (
    DEALT_FROM,
    PIECES_PER_THREAD,
    TURNS_NBYTES,
    end_shares,
    first_share,
    next_share,
)
from realizar_numba.memory import address, aligned_zeros


@pytest.mark.parametrize("rows", [16, 16 * 3 * PIECES_PER_THREAD + 5])
@pytest.mark.parametrize("type_name", ["Q4_0", "F16"])
def test_dealt_products_are_those_of_one_thread(rows, type_name):
    """Fewer groups of rows than pieces, and more; repeated, since the counters must start anew each time."""
    kind, tokens = dtype(type_name), DEALT_FROM + 3
    weights = random_weights((rows, 64), kind, np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((tokens, 64), np.float32)
    results = []
    for threads in (1, 2, 3):
        with contextlib.closing(NumbaBackend(BackendOptions(threads=threads))) as backend:
            weight = backend.load(memory_tensor("w", weights, kind), frozenset({"linear"}))
            for _ in range(4):
                out = np.full((tokens, rows), np.nan, np.float32)
                backend.linear(x, weight, out=out)
                results.append(out)
    assert np.isfinite(results[0]).all()
    for out in results[1:]:
        np.testing.assert_array_equal(out, results[0])


def test_a_thread_that_comes_too_late_leaves_like_the_others():
    """One thread finds every piece taken: the counters must still start anew for the next phase."""
    turns = aligned_zeros(TURNS_NBYTES)
    pieces = 2 * PIECES_PER_THREAD

    @njit
    def work(turns, thread, done):
        count, mine = first_share(turns, thread, 2, DEALT_FROM)
        while mine < count:
            done[mine] += 1
            mine = next_share(turns, count, 2)
        end_shares(turns, count, 2)

    for _ in range(3):
        done = np.zeros(pieces, np.int64)
        for thread in (0, 1):  # one after the other, so the second has nothing to do
            work(address(turns), thread, done)
        np.testing.assert_array_equal(done, 1)
        assert not turns.any()
