"""Copies of packed weights, as a model file holds them: the bytes of a normal load, whatever they are read with."""

from __future__ import annotations

import contextlib
import hashlib
import runpy
import zlib
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import pytest

from realizar.backend import BackendOptions
from realizar.dtypes import dtype
from realizar.tensors import LazyTensor
from realizar.testing.models import memory_tensor
from realizar_numba import isa
from realizar_numba.arena import rounded
from realizar_numba.backend import NumbaBackend
from realizar_numba.memory import address
from realizar_numba.weights.packed import packed_nbytes
from realizar_numba.weights.registry import LAYOUTS

random_matrix = runpy.run_path(str(Path(__file__).with_name("quantized_rows.py")))["random_matrix"]

USES = frozenset({"linear"})


def unreadable(tensor: LazyTensor) -> LazyTensor:
    """The tensor as a copy is loaded for it: by its type and shape alone."""

    def fail() -> np.ndarray:
        raise AssertionError("the source of a copy was read")

    return attrs.evolve(tensor, read=fail)


def test_equal_to_a_normal_load(make_backend: Callable[..., NumbaBackend]) -> None:
    """To the bit, also where the last group of rows is filled up."""
    for rows in (16, 37):
        tensor = random_matrix("Q4_1", rows, 256)
        data = make_backend(2).prepack(tensor, USES)
        assert data.nbytes == make_backend().prepacked_nbytes(tensor)
        expected = make_backend(1).load(tensor, USES)
        found = make_backend().load_prepacked(unreadable(tensor), USES, data)
        assert repr(found) == repr(expected) and found.data.tobytes() == expected.data.tobytes()
        np.testing.assert_array_equal(found.to_float32(), tensor.to_float32())


def test_norms_of_each_head_are_never_packed(backend: NumbaBackend) -> None:
    """Their weight is a matrix, but no product's."""
    values = np.arange(32, dtype=np.float32).reshape(4, 8)
    tensor, of_norm = memory_tensor("q_norm", values, dtype("F32")), frozenset({"layer_norm"})
    copy = np.zeros(backend.prepacked_nbytes(tensor), np.uint8)
    for loaded in (backend.load(tensor, of_norm), backend.load_prepacked(tensor, of_norm, copy)):
        np.testing.assert_array_equal(loaded, values)


def test_weights_do_not_lie_in_the_file(backend: NumbaBackend) -> None:
    """Its pages are given back; those of the arena are larger."""
    tensor = random_matrix("Q4_1", 16, 256)
    data = backend.prepack(tensor, USES)
    backend.reserve([tensor, tensor])
    first, second = (backend.load_prepacked(tensor, USES, data) for _ in range(2))
    assert not np.shares_memory(first.data, data)
    assert address(second.data) - address(first.data) == rounded(first.data.nbytes)


def test_any_bytes_are_numbers(backend: NumbaBackend) -> None:
    """A hostile copy gives other weights, no more: a layout holds no sizes and no places."""
    tensor = random_matrix("Q4_1", 16, 256)
    data = np.full(backend.prepacked_nbytes(tensor), 0xFF, np.uint8)
    values = backend.load_prepacked(tensor, USES, data).to_float32()
    assert values.shape == (16, 256) and np.isnan(values).all()


def test_stacks(backend: NumbaBackend) -> None:
    """Matrices one after another, each from a cache line on."""
    stored = np.stack([random_matrix("Q4_1", 17, 96, seed).read() for seed in range(3)])
    tensor = memory_tensor("experts", stored, dtype("Q4_1"))
    data = backend.prepack(tensor, USES)
    assert data.nbytes == backend.prepacked_nbytes(tensor) == 3 * rounded(packed_nbytes("Q4_1", 17, 96))
    for found, expected in zip(backend.load_prepacked(tensor, USES, data), backend.load(tensor, USES), strict=True):
        assert found.data.tobytes() == expected.data.tobytes()


def test_vectors_have_none(backend: NumbaBackend) -> None:
    assert backend.prepacked_nbytes(memory_tensor("norm", np.ones(5, np.float32), dtype("F32"))) == 0


def test_types_without_a_kernel_say_what_they_cost(backend: NumbaBackend) -> None:
    tensor = random_matrix("Q8_K", 1000, 256)
    data = backend.prepack(tensor, USES)
    assert data.nbytes == 4 * 1008 * 256 and not backend.notes()
    found = backend.load_prepacked(unreadable(tensor), USES, data)
    np.testing.assert_array_equal(found.to_float32(), tensor.to_float32())
    assert backend.notes() == ["1 Q8_K tensor dequantized to F32: 1.0 MB in memory, 0.3 MB in the file"]


CHECKSUMS = {
    "Q4_0": 0xC6968106, "Q4_1": 0xD0B8002C, "Q5_0": 0x028825EF, "Q5_1": 0x23632A44, "Q8_0": 0x1553BAB3,
    "Q2_K": 0x8051C987, "Q3_K": 0x107E1BBD, "Q4_K": 0xC356D229, "Q5_K": 0xC97DE342, "Q6_K": 0x9DE8F28E,
    "IQ4_NL": 0xEB71C289, "IQ4_XS": 0xA41F70EC, "MXFP4": 0xB7DBD81D, "NVFP4": 0x438BABCF, "Q1_0": 0xCDC0A372,
    "Q2_0": 0xFE716975, "TQ1_0": 0xB4EA807D, "TQ2_0": 0xC21BEC93, "IQ1_S": 0x34F8C7BC, "IQ1_M": 0xF7B3CBEA,
    "IQ2_XXS": 0x3C589D92, "IQ2_XS": 0x79AC012C, "IQ2_S": 0xEEC6F1B5, "IQ3_XXS": 0xD26B86D2, "IQ3_S": 0x077FE542,
    "F32": 0x2DBF48F9, "F16": 0x96B5FF5A, "BF16": 0x7067ADD0,
}  # fmt: skip
"""CRC-32 of what the layout makes of `any_bytes`."""


def any_bytes(kind: str) -> LazyTensor:
    """17 rows of a type, the same on all machines for all time."""
    element = dtype(kind)
    drawn = hashlib.shake_128(kind.encode()).digest(17 * element.row_nbytes(512))
    return memory_tensor("weight", np.frombuffer(drawn, element.storage).reshape(17, -1), element)


def test_the_layout_has_the_bytes_of_its_name(backend: NumbaBackend) -> None:
    """Files hold them: where they change, `NumbaBackend.prepacked_layout` must, too."""
    made = {kind: zlib.crc32(backend.prepack(any_bytes(kind), USES).data) for kind in LAYOUTS}
    assert (backend.prepacked_layout, made) == ("numba-1", CHECKSUMS)


@pytest.mark.parametrize("path", isa.available())
def test_instruction_sets_change_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALIZAR_ISA", path)
    with contextlib.closing(NumbaBackend(BackendOptions(threads=2))) as backend:
        assert zlib.crc32(backend.prepack(any_bytes("Q4_1"), USES).data) == CHECKSUMS["Q4_1"]
