"""Matrices dealt out piece by piece: every piece once, whoever takes it, time after time."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from realizar.backend import BackendOptions
from realizar.dtypes import dtype
from realizar.testing.models import memory_tensor, random_weights
from realizar_numba.backend import NumbaBackend
from realizar_numba.kernels.turns import DEALT_FROM, PIECES_PER_THREAD


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
