"""What becomes of a tensor at load, and what the user is told."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from realizar.backend import BackendOptions, CacheSpec
from realizar.dtypes import DTYPES, dtype
from realizar.errors import ModelError, RequestError
from realizar.ops import ACTIVATIONS
from realizar.testing.models import memory_tensor
from realizar_numba.backend import NumbaBackend
from realizar_numba.kernels.elementwise import ACTIVATION_FUNCTIONS
from realizar_numba.memory import matrix
from realizar_numba.plugin import realizar_backends
from realizar_numba.records import fill, record
from realizar_numba.weights.registry import LAYOUTS

random_matrix = runpy.run_path(str(Path(__file__).with_name("quantized_rows.py")))["random_matrix"]

USES = frozenset({"linear"})


def test_types_without_a_kernel_are_named(backend: NumbaBackend) -> None:
    """Dequantized to F32, exactly, and said with the cost."""
    tensor = random_matrix("IQ3_S", 1000, 256)
    weight = backend.load(tensor, USES)
    backend.load(random_matrix("IQ3_S", 600, 256), USES)
    np.testing.assert_array_equal(weight.to_float32(), tensor.to_float32())
    (note,) = [note for note in backend.notes() if "IQ3_S" in note]
    assert note == "2 IQ3_S tensors dequantized to F32 at load: 1.6 MB in memory, 0.2 MB in the file"


def test_types_with_a_kernel_need_no_note(backend: NumbaBackend) -> None:
    for kind in LAYOUTS:
        backend.load(random_matrix(kind, 8, 256), USES)
    assert not [note for note in backend.notes() if "dequantized" in note]


def test_all_types_load(backend: NumbaBackend) -> None:
    for kind in DTYPES:
        tensor = random_matrix(kind, 3, 256)
        np.testing.assert_array_equal(backend.load(tensor, USES).to_float32(), tensor.to_float32())


def test_vectors_become_float32(backend: NumbaBackend) -> None:
    stored = np.arange(5, dtype=np.float16)
    loaded = backend.load(memory_tensor("norm", stored, dtype("F16")), frozenset({"rms_norm"}))
    assert loaded.dtype == np.float32 and loaded.tolist() == [0, 1, 2, 3, 4]


def test_experts_become_a_list(backend: NumbaBackend) -> None:
    stored = np.random.default_rng(0).standard_normal((3, 5, 32)).astype(np.float32)
    experts = backend.load(memory_tensor("experts", stored, dtype("F32")), frozenset({"moe_ffn"}))
    np.testing.assert_array_equal([expert.to_float32() for expert in experts], stored)


def test_cache_blocks_must_be_whole_chunks(backend: NumbaBackend) -> None:
    assert len(backend.make_cache(CacheSpec(((2, 64), (2, 64)), 4, 48, "F32"))) == 2
    for block_size, kind in ((8, "F16"), (16, "Q8_0")):
        with pytest.raises(ModelError, match="multiple of 16 tokens"):
            backend.make_cache(CacheSpec(((2, 64),), 4, block_size, kind))


def test_every_activation_has_a_function() -> None:
    assert set(ACTIVATION_FUNCTIONS) == set(ACTIVATIONS)


def test_kernels_take_contiguous_float32_rows_only() -> None:
    for wrong in (np.zeros((2, 3)), np.zeros(3, np.float32), np.zeros((4, 4), np.float32)[:, ::2]):
        with pytest.raises(TypeError, match="contiguous rows"):
            matrix(wrong, 0)


def test_records_want_every_field() -> None:
    kind = record("a", "b", floats=("c",))
    assert fill(kind, a=1, b=2, c=0.5)[0].tolist() == (1, 2, 0.5)
    with pytest.raises(TypeError, match="needs the fields"):
        fill(kind, a=1, b=2)


def test_the_plugin_offers_the_backend() -> None:
    assert list(realizar_backends()) == [NumbaBackend]


def test_threads_default_to_the_cores_of_this_process() -> None:
    backend = NumbaBackend()
    try:
        assert backend.probe().detail.startswith(f"{backend.runtime.pool.num_threads} thread")
    finally:
        backend.close()


def test_threads_must_be_positive() -> None:
    with pytest.raises(RequestError, match="threads is 0"):
        NumbaBackend(BackendOptions(threads=0))
