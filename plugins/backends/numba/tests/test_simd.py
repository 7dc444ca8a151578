"""The vocabulary: elementary functions in units in the last place, dot products, partial loads and stores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from realizar_numba import isa
from realizar_numba.simd import functions
from realizar_numba.simd.floating import half_e4m3, half_e8m0, max_f32, splat_first, sum_f32
from realizar_numba.simd.integer import move_bits, nibble_i32
from realizar_numba.simd.memory import (
    load_f32x16,
    load_first_f32,
    load_i8x16,
    load_i8x64,
    load_i32x16,
    store,
    store_f32,
    store_first_f32,
)
from realizar_numba.simd.targets import TARGETS, Target
from realizar_numba.simd.types import get, put, registers

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


@njit
def _as_it_is(sums):
    return sums


def _available(path: str) -> Target:
    if path not in isa.available():
        pytest.skip(f"this CPU cannot run {path}")
    return TARGETS[path]


def _byte_cases(codes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of one byte vector from `codes` and one of signed bytes: random ones, and the largest products."""
    rng = np.random.default_rng(0)
    cases = [(rng.choice(codes, 64), rng.integers(-127, 128, 64)) for _ in range(20)]
    extremes = (codes.min(), codes.max())
    return cases + [(np.full(64, code), np.full(64, sign * 127)) for code in extremes for sign in (1, -1)]


@pytest.mark.parametrize("max_code", [3, 15, 31, 63, 255])
@pytest.mark.parametrize("path", TARGETS)
def test_dot_is_exact(path: str, max_code: int) -> None:
    """As many dot products as an accumulator may take, on the largest codes too."""
    target = _available(path)
    dots = target.max_dots(max_code) if target.widen else 16
    if dots == 0:
        pytest.skip(f"{path} takes codes of 8 bits as signed bytes")
    dot, widen, new_sums = target.dot, target.widen or _as_it_is, registers(target.accumulator, 1)

    @njit
    def run(u, s, out):
        sums = new_sums()
        for _ in range(dots):
            put(sums, 0, dot(get(sums, 0), load_i8x64(u), load_i8x64(s)))
        store(out, widen(get(sums, 0)))

    for unsigned, signed in _byte_cases(np.arange(max_code + 1)):
        u, s, out = unsigned.astype(np.uint8), signed.astype(np.int8), np.empty(16, np.int32)
        run(u.ctypes.data, s.ctypes.data, out.ctypes.data)
        np.testing.assert_array_equal(out, dots * (unsigned * signed).reshape(16, 4).sum(axis=1))


@pytest.mark.parametrize("path", [path for path, target in TARGETS.items() if target.signed_dot])
def test_signed_dot_is_exact(path: str) -> None:
    """Any signed bytes times any signed bytes but -128."""
    dot = _available(path).signed_dot

    @njit
    def run(a, w, s, out):
        store(out, dot(load_i32x16(a), load_i8x64(w), load_i8x64(s)))

    for weights, signed in _byte_cases(np.arange(-128, 128)):
        w, s, out = weights.astype(np.int8), signed.astype(np.int8), np.empty(16, np.int32)
        a = np.arange(-8, 8, dtype=np.int32) * 1000
        run(a.ctypes.data, w.ctypes.data, s.ctypes.data, out.ctypes.data)
        np.testing.assert_array_equal(out, a + (weights * signed).reshape(16, 4).sum(axis=1))


@pytest.mark.parametrize("path", TARGETS)
def test_lookup(path: str) -> None:
    table = np.random.default_rng(1).permutation(256)[:16]
    lookup = _available(path).lookup([int(entry) for entry in table])

    @njit
    def run(source, target):
        store(target, lookup(load_i8x64(source)))

    indices, found = np.arange(64, dtype=np.uint8) * 7 % 16, np.empty(64, np.uint8)
    run(indices.ctypes.data, found.ctypes.data)
    np.testing.assert_array_equal(found, table[indices])


@given(byte=st.integers(0, 255), width=st.sampled_from([1, 2, 4]), source=st.integers(0, 7), target=st.integers(0, 7))
def test_move_bits(byte: int, width: int, source: int, target: int) -> None:
    """Any field of a byte to any place where it fits."""
    source, target = source // width * width, min(target, 8 - width)
    field = (1 << width) - 1
    found = np.empty(64, np.uint8)
    _move(np.full(64, byte, np.uint8).ctypes.data, source, target, field << target, found.ctypes.data)
    np.testing.assert_array_equal(found, (byte >> source & field) << target)


@njit
def _move(address, source, target, mask, out):
    store(out, move_bits(load_i8x64(address), source, target, mask))


def test_half_e8m0() -> None:
    """All 256 scales, the subnormal ones too."""
    found, codes = np.empty(256, np.float32), np.arange(256, dtype=np.int32)
    _mapped_integers(half_e8m0)(codes.ctypes.data, found.ctypes.data, 256)
    np.testing.assert_array_equal(found, (2.0 ** (codes - 128.0)).astype(np.float32))


def test_half_e4m3() -> None:
    """All 128 codes, the subnormal ones too; the last one is a number."""
    found, codes = np.empty(128, np.float32), np.arange(128, dtype=np.uint8)

    @njit
    def run(source, target):
        for i in range(0, 128, 16):
            store(target + 4 * i, half_e4m3(load_i8x16(source + i)))

    run(codes.ctypes.data, found.ctypes.data)
    exponent, mantissa = codes >> 3, codes & 7
    expected = np.where(exponent == 0, mantissa * 2.0**-10, (8 + mantissa) * 2.0 ** (exponent - 11.0))
    np.testing.assert_array_equal(found, expected.astype(np.float32))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=16, max_size=16))
def test_nibble_i32(words: list[int]) -> None:
    """Any of the eight nibbles of each lane."""
    source, found = np.array(words, np.uint32), np.empty((8, 16), np.uint32)
    _nibbles(source.ctypes.data, found.ctypes.data)
    np.testing.assert_array_equal(found, [source >> 4 * index & 15 for index in range(8)])


@njit
def _nibbles(source, target):
    for index in range(8):
        store(target + 64 * index, nibble_i32(load_i32x16(source), index))


def _mapped_integers(function: Any) -> Any:
    @njit
    def run(source, target, count):
        for i in range(0, count, 16):
            store(target + 4 * i, function(load_i32x16(source + 4 * i)))

    return run


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
