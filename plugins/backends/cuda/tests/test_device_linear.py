"""Device tests of matrix products: every type, widths that are constants of the kernel and others, few tokens and many.

Truth is float64 NumPy on the dequantized weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from realizar.dtypes import DTYPES
from realizar.testing.models import memory_tensor, random_weights
from realizar_cuda.backend import CudaBackend
from realizar_cuda.weights import CHUNKS

AVAILABLE = CudaBackend.probe()
pytestmark = pytest.mark.skipif(not AVAILABLE.score, reason=f"device test: {AVAILABLE.detail}")

TOKENS = (1, 2, 3, 5, 8, 17, 64, 65, 100)
WIDTHS = {"F32": (1024, 576), "F16": (2048, 576), "BF16": (2048, 576)}
"""Widths of which rows are whole turns of a warp, and others; quantized types: 1024, and one or three blocks."""

MAX_ERROR = {"F32": 1e-11, "F16": 1e-6, "BF16": 2e-5}
"""Normalized mean square error; quantized: 1e-4, what 8 bits in groups of 16 stay well below."""


@pytest.fixture(scope="module")
def backend() -> Iterator[CudaBackend]:
    backend = CudaBackend()
    yield backend
    backend.close()


def product(backend, kind, width, rows, tokens, with_bias=False):
    """(found, expected, |x||w| scale) of one product on poisoned output."""
    rng = np.random.default_rng((width, rows, tokens))
    weight = memory_tensor("weight", random_weights((rows, width), DTYPES[kind], rng), DTYPES[kind])
    x = rng.standard_normal((tokens, width)).astype(np.float32)
    bias = rng.standard_normal(rows).astype(np.float32) if with_bias else None
    device = backend.runtime.device
    loaded = backend.load(weight, frozenset({"linear"}))
    out = device.filled((tokens, rows), np.nan)
    backend.linear(device.upload(x), loaded, *([device.upload(bias)] if with_bias else []), out=out)
    device.synchronize()
    dense = weight.to_float32().astype(np.float64)
    scale = np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(dense, axis=1)) / np.sqrt(width)
    expected = x.astype(np.float64) @ dense.T + (0 if bias is None else bias)
    return out.get(), expected, scale


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("kind", CHUNKS)
def test_product(backend, kind, tokens):
    block = DTYPES[kind].block_size
    widths = WIDTHS.get(kind, (1024, 3 * block if block > 32 else 576))
    for width, rows, with_bias in zip(widths, (333, 40), (False, True), strict=True):
        found, expected, scale = product(backend, kind, width, rows, tokens, with_bias)
        error = np.mean(np.square((found - expected) / scale))
        assert error <= MAX_ERROR.get(kind, 1e-4), f"{kind} {rows} x {width}, {tokens} tokens: NMSE {error:.3g}"


def test_the_same_twice_with_another_shape_between(backend):
    """4 x 64 x 8 of ones is 64 everywhere, also after another product used the same memory and kernel."""
    device = backend.runtime.device
    ones = memory_tensor("ones", np.ones((8, 64), np.float32), DTYPES["F32"])
    weight = backend.load(ones, frozenset({"linear"}))
    found = []
    for _ in range(2):
        out = device.filled((4, 8), np.nan)
        backend.linear(device.upload(np.ones((4, 64), np.float32)), weight, out=out)
        device.synchronize()
        found.append(out.get())
        product(backend, "F32", 96, 17, 4)
    assert (found[0] == 64).all() and (found[1] == 64).all()


@pytest.mark.parametrize("tokens", [1, 8, 65])
def test_interleaved_repeats_have_the_same_bits(backend, tokens):
    first, _, _ = product(backend, "Q4_K", 2048, 96, tokens)
    for kind, width in (("Q6_K", 1024), ("F16", 576), ("Q4_K", 2304)):
        product(backend, kind, width, 50, 3)
        again, _, _ = product(backend, "Q4_K", 2048, 96, tokens)
        assert (again.view(np.uint32) == first.view(np.uint32)).all()


def test_large_activations_survive_halves(backend):
    """F16 weights and activations beyond 65504."""
    rng = np.random.default_rng(3)
    weight = memory_tensor("weight", random_weights((64, 256), DTYPES["F16"], rng), DTYPES["F16"])
    x = (1e6 * rng.standard_normal((80, 256))).astype(np.float32)
    device = backend.runtime.device
    out = device.filled((80, 64), np.nan)
    backend.linear(device.upload(x), backend.load(weight, frozenset({"linear"})), out=out)
    device.synchronize()
    expected = x.astype(np.float64) @ weight.to_float32().astype(np.float64).T
    assert np.mean(np.square(out.get() - expected)) <= 1e-6 * np.mean(np.square(expected))
