"""The vocabulary: elementary functions in units in the last place, dot products, partial loads and stores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from realizar_numba import isa
from realizar_numba.simd import functions
from realizar_numba.simd.dot import DOTS
from realizar_numba.simd.floating import max_f32, splat_first, sum_f32
from realizar_numba.simd.memory import (
    load_f32x16,
    load_first_f32,
    load_i8x64,
    load_i32x16,
    store,
    store_f32,
    store_first_f32,
)

GRIDS = {
    "exp": np.linspace(-87, 88, 40000),
    "expm1": np.concatenate([np.linspace(-87, 80, 20000), np.linspace(-0.5, 0.5, 20000)]),
    "tanh": np.concatenate([np.linspace(-12, 12, 20000), np.linspace(-1e-3, 1e-3, 20000)]),
    "erfc": np.concatenate([np.linspace(-6, 9, 20000), np.linspace(-1e-2, 1e-2, 20000)]),
}
EXACT: dict[str, Callable[[float], float]] = {
    "exp": math.exp, "expm1": math.expm1, "tanh": math.tanh, "erfc": math.erfc,
}  # fmt: skip
MAX_ULPS = {"exp": 1, "expm1": 2, "tanh": 3, "erfc": 5}


def _mapped(function: Any) -> Any:
    @njit
    def run(source, target, count):
        for i in range(0, count, 16):
            store(target + 4 * i, function(load_f32x16(source + 4 * i)))

    return run


@pytest.mark.parametrize("name", GRIDS)
def test_functions_are_accurate(name: str) -> None:
    x = GRIDS[name].astype(np.float32)
    found = np.empty_like(x)
    _mapped(getattr(functions, name))(x.ctypes.data, found.ctypes.data, len(x))
    expected = np.array([EXACT[name](float(v)) for v in x])
    normal = np.abs(expected) > np.finfo(np.float32).tiny
    ulps = np.abs(found - expected)[normal] / np.spacing(np.abs(expected[normal]).astype(np.float32))
    assert ulps.max() <= MAX_ULPS[name]


def test_functions_at_the_ends() -> None:
    """Saturation instead of infinities; minus infinity has exponential 0."""
    x = np.array([-np.inf, -1000, 1000, 0] * 4, np.float32)
    found = np.empty_like(x)
    _mapped(functions.exp)(x.ctypes.data, found.ctypes.data, 16)
    np.testing.assert_array_equal(found[:4], np.float32([0, 0, found[2], 1]))
    assert found[2] > 1e38 and np.isfinite(found[2])
    _mapped(functions.tanh)(x.ctypes.data, found.ctypes.data, 16)
    np.testing.assert_array_equal(found[:4], np.float32([-1, -1, 1, 0]))


@pytest.mark.parametrize("path", DOTS)
def test_dot_is_exact(path: str) -> None:
    """Any unsigned bytes times any signed bytes but -128, over the whole range."""
    if path not in isa.available():
        pytest.skip(f"this CPU cannot run {path}")
    dot = DOTS[path]

    @njit
    def run(a, u, s, out):
        store(out, dot(load_i32x16(a), load_i8x64(u), load_i8x64(s)))

    rng = np.random.default_rng(0)
    cases = [(rng.integers(0, 256, 64), rng.integers(-127, 128, 64)) for _ in range(20)]
    cases += [(np.full(64, 255), np.full(64, sign * 127)) for sign in (1, -1)]
    for unsigned, signed in cases:
        u, s = unsigned.astype(np.uint8), signed.astype(np.int8)
        a, out = rng.integers(-1000, 1000, 16).astype(np.int32), np.empty(16, np.int32)
        run(a.ctypes.data, u.ctypes.data, s.ctypes.data, out.ctypes.data)
        np.testing.assert_array_equal(out, a + (unsigned * signed).reshape(16, 4).sum(axis=1))


def test_partial_loads_and_stores() -> None:
    """Only the first lanes are read and written, whatever the count."""

    @njit
    def run(source, target, count):
        store_first_f32(target, load_first_f32(source, count), count)

    source = np.arange(1, 17, dtype=np.float32)
    for count in (-5, 0, 1, 7, 16, 100):
        target = np.zeros(16, np.float32)
        run(source.ctypes.data, target.ctypes.data, count)
        used = min(max(count, 0), 16)
        np.testing.assert_array_equal(target, np.concatenate([source[:used], np.zeros(16 - used)]))


def test_reductions() -> None:
    """Sums as a tree of halves; the maximum; a splat into the first lanes."""

    @njit
    def run(source, target):
        v = load_f32x16(source)
        store_f32(target, sum_f32(v))
        store_f32(target + 4, max_f32(v))
        store_f32(target + 8, sum_f32(splat_first(np.float32(2), 3)))

    source, target = np.random.default_rng(1).standard_normal(16).astype(np.float32), np.zeros(3, np.float32)
    run(source.ctypes.data, target.ctypes.data)
    tree = source
    while len(tree) > 1:
        tree = tree[: len(tree) // 2] + tree[len(tree) // 2 :]
    assert target[0] == tree[0] and target[1] == source.max() and target[2] == 6
