"""What becomes of a tensor at load, and what the user is told."""

from __future__ import annotations

import mmap
import runpy
from collections.abc import Callable
from itertools import product
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realizar.backend import BackendOptions, CacheSpec
from realizar.dtypes import DTYPES, DType, dtype
from realizar.errors import ModelError, RequestError
from realizar.ops import ACTIVATIONS
from realizar.quant import dequantize
from realizar.testing.models import memory_tensor
from realizar_numba.arena import rounded
from realizar_numba.backend import NumbaBackend
from realizar_numba.kernels.elementwise import ACTIVATION_FUNCTIONS
from realizar_numba.memory import address, matrix
from realizar_numba.plugin import realizar_backends
from realizar_numba.records import fill, record
from realizar_numba.weights import loader
from realizar_numba.weights.packed import packed_nbytes
from realizar_numba.weights.registry import LAYOUTS

random_matrix = runpy.run_path(str(Path(__file__).with_name("quantized_rows.py")))["random_matrix"]

USES = frozenset({"linear"})


def test_types_without_a_kernel_are_named(backend: NumbaBackend) -> None:
    """Dequantized to F32, exactly, and said with the cost."""
    tensor = random_matrix("Q8_K", 1000, 256)
    weight = backend.load(tensor, USES)
    backend.load(random_matrix("Q8_K", 600, 256), USES)
    np.testing.assert_array_equal(weight.to_float32(), tensor.to_float32())
    (note,) = [note for note in backend.notes() if "Q8_K" in note]
    assert note == "2 Q8_K tensors dequantized to F32: 1.6 MB in memory, 0.5 MB in the file"


def test_types_with_a_kernel_need_no_note(backend: NumbaBackend) -> None:
    for kind in LAYOUTS:
        backend.load(random_matrix(kind, 8, 256), USES)
    assert not [note for note in backend.notes() if "dequantized" in note]


def test_all_types_load(backend: NumbaBackend) -> None:
    for kind in DTYPES:
        tensor = random_matrix(kind, 3, 256)
        np.testing.assert_array_equal(backend.load(tensor, USES).to_float32(), tensor.to_float32())


@pytest.mark.parametrize("kind", ["Q4_1", "Q6_K", "F16", "Q8_K"])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 100])
def test_threads_pack_what_one_packs(make_backend: Callable[..., NumbaBackend], kind: str, rows: int) -> None:
    tensor = random_matrix(kind, rows, 512)
    alone, together = (make_backend(threads).load(tensor, USES) for threads in (1, 3))
    np.testing.assert_array_equal(alone.data, together.data)
    np.testing.assert_array_equal(together.to_float32(), tensor.to_float32())


def test_an_arena_holds_what_single_tensors_would(make_backend: Callable[..., NumbaBackend]) -> None:
    """One after another, in one piece that the headers alone have sized."""
    tensors = [random_matrix(kind, rows, 256, seed) for seed, (kind, rows) in enumerate(product(DTYPES, (16, 17)))]
    unread = [attrs.evolve(tensor, read=_fail) for tensor in tensors]
    backend = make_backend()
    backend.reserve(unread)
    weights = [backend.load(tensor, USES) for tensor in tensors]
    ends = [address(weight.data) + rounded(weight.data.nbytes) for weight in weights]
    assert [address(weight.data) for weight in weights[1:]] == ends[:-1]
    for weight, tensor in zip(weights, tensors, strict=True):
        np.testing.assert_array_equal(weight.data, make_backend(1).load(tensor, USES).data)


@given(st.sampled_from(sorted(LAYOUTS)), st.integers(1, 300), st.integers(1, 40))
def test_room_is_bounded_by_what_the_file_proves(kind: str, groups: int, blocks: int) -> None:
    """A layout may be a little larger than the file's (one with codebooks, twice), and fills up 16 rows."""
    element, rows, columns = dtype(kind), 16 * groups, 256 * blocks
    has_codebook = kind in ("TQ1_0", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")
    proven = rows * element.row_nbytes(columns)
    assert packed_nbytes(kind, rows, columns) <= (2.1 if has_codebook else 1.06) * proven
    assert packed_nbytes(kind, rows - 15, columns) == packed_nbytes(kind, rows, columns)


def test_types_without_a_kernel_are_dequantized_in_parts(
    make_backend: Callable[..., NumbaBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = random_matrix("Q8_K", 100, 256)
    whole = make_backend().load(tensor, USES)
    monkeypatch.setattr(loader, "DEQUANTIZED_NBYTES", 40 * 4 * 256)
    asked: list[int] = []

    def counting(stored: NDArray[np.uint8], element: DType) -> NDArray[np.float32]:
        asked.append(len(stored))
        return dequantize(stored, element)

    monkeypatch.setattr(loader, "dequantize", counting)
    np.testing.assert_array_equal(make_backend().load(tensor, USES).data, whole.data)
    assert asked == [32, 32, 32, 4]


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="memory goes with its last array here")
def test_a_closed_backend_holds_no_weights() -> None:
    backend = NumbaBackend(BackendOptions(threads=1))
    weight = backend.load(random_matrix("Q8_0", 32, 256), USES)
    assert weight.data.any()
    backend.close()
    assert not weight.data.any()


def test_vectors_are_copies(backend: NumbaBackend) -> None:
    """The file's pages are given back: nothing may point into them."""
    tensor = memory_tensor("norm", np.ones(5, np.float32), dtype("F32"))
    assert not np.shares_memory(backend.load(tensor, frozenset({"rms_norm"})), tensor.read())


def _fail() -> NDArray[np.generic]:
    raise AssertionError("a tensor was read before it was loaded")


def test_vectors_become_float32(backend: NumbaBackend) -> None:
    stored = np.arange(5, dtype=np.float16)
    loaded = backend.load(memory_tensor("norm", stored, dtype("F16")), frozenset({"rms_norm"}))
    assert loaded.dtype == np.float32 and loaded.tolist() == [0, 1, 2, 3, 4]


def test_experts_become_a_list(backend: NumbaBackend) -> None:
    stored = np.random.default_rng(0).standard_normal((3, 5, 32)).astype(np.float32)
    experts = backend.load(memory_tensor("experts", stored, dtype("F32")), frozenset({"moe_ffn"}))
    np.testing.assert_array_equal([expert.to_float32() for expert in experts], stored)


def test_experts_of_a_quantized_type(backend: NumbaBackend) -> None:
    stored = np.stack([random_matrix("Q4_K", 17, 512, seed).read() for seed in range(3)])
    tensor = memory_tensor("experts", stored, dtype("Q4_K"))
    backend.reserve([tensor])
    experts = backend.load(tensor, frozenset({"moe_ffn"}))
    np.testing.assert_array_equal([expert.to_float32() for expert in experts], tensor.to_float32())


def test_cache_blocks_must_be_whole_chunks(backend: NumbaBackend) -> None:
    assert len(backend.make_cache(CacheSpec(((2, 64), (2, 64)), 4, 48, "F32"))) == 2
    for block_size, kind in ((8, "F16"), (16, "Q4_0")):
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
