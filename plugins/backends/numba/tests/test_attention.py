"""Attention for every cache type: its error, and bits that depend on nothing but the sequence."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realizar.backend import BackendOptions, CacheSpec
from realizar.errors import ModelError
from realizar.testing.strategies import reproducible
from realizar_numba import isa
from realizar_numba.backend import NumbaBackend
from realizar_numba.kernels.tile_memory import SPAN, tile_shape

AttentionCase: Any = runpy.run_path(str(Path(__file__).with_name("attention_case.py")))["AttentionCase"]
Rows = NDArray[np.float32]

KV_TYPES = NumbaBackend.kv_types

NMSE = {"F32": 1e-12, "F16": 3e-7, "BF16": 2e-5, "Q8_0": 2e-4}
"""Four times what rounding of normal keys and values makes: steps of 2^-11, 2^-8, 1/127 of a block's largest."""

SHAPES = {
    "grouped": AttentionCase((SPAN + 45, 1, 40), 9, 3, 64),
    "window across spans": AttentionCase((SPAN + 70, 30), 4, 2, 64, sliding_window=37),
    "softcap, wide heads": AttentionCase((SPAN + 3, 17), 4, 1, 256, softcap=5.0),
    "heads of 40": AttentionCase((50, SPAN + 20), 3, 3, 40, sliding_window=3, block_size=32),
    "linear biases": AttentionCase((SPAN + 50, 21), 6, 2, 48, alibi_slopes=(0.25, 0.0625, 0.5, 0.125, 0.01, 0.002)),
    "all of a sequence": AttentionCase((SPAN + 37, 1, 40, 2 * SPAN), 6, 2, 48, softcap=4.0, causal=False),
    "one key for 26 heads": AttentionCase((SPAN + 9,), 26, 1, 32),
}


@pytest.fixture(scope="module")
def backend() -> Iterator[NumbaBackend]:
    made = NumbaBackend(BackendOptions(threads=2))
    yield made
    made.close()


def _nmse(actual: Rows, case: AttentionCase) -> float:
    expected = case.expected()
    return float(np.mean((actual - expected) ** 2) / np.mean(expected**2))


def _assert_same_bits(actual: Rows, expected: Rows) -> None:
    assert np.isfinite(expected).all() and expected.any()
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


PATHS_BY_SHAPE = {tile_shape(path): path for path in isa.available()}
"""The paths differ in the shapes of their tiles only."""


@pytest.mark.parametrize("kv_type", KV_TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_error_is_that_of_rounding(backend: NumbaBackend, shape: str, kv_type: str) -> None:
    case = SHAPES[shape]
    assert _nmse(case.run(backend, kv_type, case.whole()), case) < NMSE[kv_type]


@st.composite
def cases(draw: st.DrawFn) -> AttentionCase:
    """Few head sizes and groups, so that little has to be compiled; any lengths, windows and caps."""
    kv_heads, group = draw(st.sampled_from(((1, 1), (2, 2), (1, 3), (3, 3), (1, 7), (2, 13), (1, 30))))
    lengths = draw(
        st.lists(st.sampled_from((1, 2, 15, 16, 17, 33, SPAN - 1, SPAN, SPAN + 1, 2 * SPAN + 5)), max_size=3)
    )
    return AttentionCase(
        (draw(st.integers(1, 80)), *lengths),
        kv_heads * group,
        kv_heads,
        draw(st.sampled_from((32, 33, 48, 64, 80, 96, 128))),
        draw(st.sampled_from((0, 1, 16, 50, SPAN, SPAN + 7))),
        draw(st.sampled_from((0.0, 2.0, 30.0))),
        draw(st.sampled_from((16, 48))),
        draw(st.integers(0, 9)),
    )


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_any_shape(backend: NumbaBackend, kv_type: str) -> None:
    """Right, and the same bits in one step, in chunks, and token by token at the end, over a poisoned cache."""

    @reproducible(12)
    @given(cases(), st.integers(1, 70))
    def check(case: AttentionCase, size: int) -> None:
        found = case.run(backend, kv_type, case.whole())
        assert _nmse(found, case) < 2 * NMSE[kv_type]
        _assert_same_bits(case.run(backend, kv_type, case.chunked(size), poison=0xFF), found)
        _assert_same_bits(case.run(backend, kv_type, case.last_alone(), poison=0xFF), found)

    check()


@pytest.mark.parametrize("path", PATHS_BY_SHAPE.values())
@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_paths_and_threads_do_not_change_bits(
    backend: NumbaBackend,
    make_backend: Callable[..., NumbaBackend],
    monkeypatch: pytest.MonkeyPatch,
    kv_type: str,
    path: str,
) -> None:
    monkeypatch.setenv("REALIZAR_ISA", path)
    for case in SHAPES.values():
        expected = case.run(backend, kv_type, case.whole())
        for threads in (1, 2, 5):
            steps = case.last_alone() if case.causal else case.alone()
            _assert_same_bits(case.run(make_backend(threads), kv_type, steps, poison=0xFF), expected)


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_spans_of_one_token_are_shared_among_threads(make_backend: Callable[..., NumbaBackend], kv_type: str) -> None:
    """A long sequence decoded alone, where each thread takes some of its spans, again and again."""
    case = AttentionCase((5 * SPAN + 40,), 3, 1, 64)
    expected = case.run(make_backend(1), kv_type, case.whole())
    start = case.lengths[0] - 20
    steps = [[(0, 0, start)], *([(0, t, t + 1)] for t in range(start, case.lengths[0]))]
    _assert_same_bits(case.run(make_backend(3), kv_type, steps), expected)


def test_heads_beyond_256_dimensions_are_refused(backend: NumbaBackend) -> None:
    with pytest.raises(ModelError, match="heads of 257 dimensions.*at most 256"):
        backend.make_cache(CacheSpec(((1, 257),), 1, 16, "F16"))
