"""What the machine can do: the measuring kernels read every byte and make every product."""

from __future__ import annotations

import numpy as np
import pytest

from realizar_numba import floor, isa
from realizar_numba.cache import CodeCache
from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import aligned_zeros
from realizar_numba.pool import ThreadPool


@pytest.fixture(params=[1, 2, 3])
def pool(request, kernels):
    made = ThreadPool(request.param, kernels)
    yield made
    made.close()


@pytest.fixture
def kernels():
    return Kernels(isa.available()[0], CodeCache(), lambda stage, done, total: None)


def random_bytes(nbytes: int) -> np.ndarray:
    made = aligned_zeros(nbytes)
    made.view(np.int8)[:] = np.random.default_rng(nbytes).integers(-128, 128, nbytes)
    return made


@pytest.mark.parametrize("units", [0, 1, 1000])
def test_streaming_reads_every_byte(kernels, pool, units):
    data = random_bytes(256 * units)
    seconds, sums = floor.stream(kernels, pool, data)
    expected = data.view(np.int32).reshape(-1, 16).astype(np.int64).sum(axis=0)
    assert np.array_equal(sums.sum(axis=0, dtype=np.int64).astype(np.int32), expected.astype(np.int32))
    assert seconds > 0


@pytest.mark.parametrize("path", isa.available())
def test_every_thread_makes_every_product(pool, path):
    rounds, rng = 8, np.random.default_rng(1)
    start, step = rng.integers(0, 4, 64), rng.integers(0, 2, 64)  # so small that 16-bit sums hold them
    signed = rng.integers(-127, 128, (floor.num_chains(path), 64))
    operands = aligned_zeros(64 * (2 + len(signed)))
    operands[:] = np.concatenate([start, step, signed.reshape(-1)]).astype(np.int8).view(np.uint8)
    _, sums = floor.dot(Kernels(path, CodeCache(), lambda *_: None), pool, operands, rounds)
    unsigned = start + np.arange(rounds)[:, None] * step
    expected = (unsigned.sum(axis=0) * signed.sum(axis=0)).reshape(16, 4).sum(axis=1)
    assert np.array_equal(sums, np.broadcast_to(expected, sums.shape))


def test_the_backend_measures_in_passes(backend, monkeypatch):
    monkeypatch.setattr(floor, "STREAM_NBYTES", 1 << 20)
    monkeypatch.setattr(floor, "DOT_ROUNDS", 1000)
    measured = backend.floor()
    assert len(measured.bytes_per_s) == len(measured.int8_ops_per_s) == floor.PASSES
    assert min(*measured.bytes_per_s, *measured.int8_ops_per_s) > 0
