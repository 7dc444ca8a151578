"""Packed layouts and matrix kernels of every type, against float64 on the same activations."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import pytest

from realizar.dtypes import dtype
from realizar.testing.models import memory_tensor
from realizar_numba import isa
from realizar_numba.backend import NumbaBackend
from realizar_numba.weights.codes import Codes, planes
from realizar_numba.weights.registry import FLOAT_LAYOUTS, INTEGER_LAYOUTS, LAYOUTS

_tools = runpy.run_path(str(Path(__file__).with_name("quantized_rows.py")))
exact, random_matrix, rounded_to_8_bits = _tools["exact"], _tools["random_matrix"], _tools["rounded_to_8_bits"]

GRIDS = {"IQ1_S": 8, "IQ1_M": 8, "IQ2_XXS": 8, "IQ2_XS": 8, "IQ2_S": 8, "IQ3_XXS": 4, "IQ3_S": 4}
"""Types of grid points: columns of a point."""


def _product_kinds() -> dict[object, str]:
    """One type for each kind of integer products, which is what paths and widths of tiles differ in."""
    kinds: dict[object, str] = {}
    for name, layout in INTEGER_LAYOUTS.items():
        codes = layout.codes
        bits = tuple(plane.bits for plane in codes.planes)
        kinds.setdefault((bits, bool(codes.table), layout.scales.halves), name)
    return kinds


PRODUCT_KINDS = tuple(_product_kinds().values())


def _matrix(kind: str):
    """Rows that do not fill the last group; about 768 columns in an odd number of blocks, or 67 of plain types."""
    size = dtype(kind).block_size
    return random_matrix(kind, 37, size * ((768 // size - 1) | 1) if kind in INTEGER_LAYOUTS else 67)


def _product(backend: NumbaBackend, weight: object, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    out = np.full((len(x), weight.rows), np.nan, np.float32)
    arguments = (x, weight) if bias is None else (x, weight, bias)
    backend.linear(*arguments, out=out)
    return out


@pytest.mark.parametrize("kind", LAYOUTS)
def test_unpacked_equals_reference(backend: NumbaBackend, kind: str) -> None:
    """Packing loses nothing: every element comes back with the reference's bits."""
    tensor = _matrix(kind)
    unpacked = backend.load(tensor, frozenset({"linear"})).to_float32()
    np.testing.assert_array_equal(unpacked.view(np.uint32), tensor.to_float32().view(np.uint32))


@pytest.mark.parametrize("kind", GRIDS)
def test_every_point_of_a_grid(backend: NumbaBackend, kind: str) -> None:
    """All points come back with the reference's bits: 65 thousand random indices into grids of up to 2048."""
    tensor = random_matrix(kind, 64, 1024 * GRIDS[kind])
    unpacked = backend.load(tensor, frozenset({"linear"})).to_float32()
    np.testing.assert_array_equal(unpacked.view(np.uint32), tensor.to_float32().view(np.uint32))


def test_scales_of_nvfp4(backend: NumbaBackend) -> None:
    """All 256 bytes: subnormal ones, the top bit that nobody reads, and 0x7F, which counts as zero."""
    stored = random_matrix("NVFP4", 2, 32 * 64).read().reshape(64, 36).copy()
    stored[:, :4] = np.arange(256, dtype=np.uint8).reshape(64, 4)
    tensor = memory_tensor("weight", stored.reshape(2, -1), dtype("NVFP4"))
    weight = backend.load(tensor, frozenset({"linear"}))
    np.testing.assert_array_equal(weight.to_float32().view(np.uint32), tensor.to_float32().view(np.uint32))
    blocks = np.eye(32, dtype=np.float32).repeat(64, axis=1)
    expected = rounded_to_8_bits(blocks) @ exact(tensor).T
    np.testing.assert_allclose(_product(backend, weight, blocks), expected, rtol=1e-6, atol=1e-6)


def test_large_codes_need_the_bias_of_signed_bytes() -> None:
    """Otherwise instruction sets that sum in 16 bits would overflow."""
    assert Codes(planes(4, 2), 32).max_code == 63
    with pytest.raises(ValueError, match="codes up to 86 need the bias 128, not 43"):
        Codes(planes(2, 1), 43, (0, 43, 86))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_product_is_exact_on_its_own_activations(backend: NumbaBackend, kind: str) -> None:
    """1e-6 relative to float64, once the rounding of the activations is taken out; with a bias too."""
    tensor, rng = _matrix(kind), np.random.default_rng(1)
    weight = backend.load(tensor, frozenset({"linear"}))
    x = rng.standard_normal((21, weight.columns)).astype(np.float32)
    bias = rng.standard_normal(weight.rows).astype(np.float32)
    seen = rounded_to_8_bits(x) if kind in INTEGER_LAYOUTS else x.astype(np.float64)
    expected = seen @ exact(tensor).T
    for added, given in ((0, None), (bias, bias)):
        error = np.linalg.norm(_product(backend, weight, x, given) - (expected + added)) / np.linalg.norm(expected)
        assert error < 1e-6


@pytest.mark.parametrize("kind", INTEGER_LAYOUTS)
def test_eight_bit_activations_cost_half_a_percent(backend: NumbaBackend, kind: str) -> None:
    """NMSE against float activations stays below 5e-5 on normal inputs."""
    tensor = _matrix(kind)
    weight = backend.load(tensor, frozenset({"linear"}))
    x = np.random.default_rng(2).standard_normal((64, weight.columns)).astype(np.float32)
    expected = x.astype(np.float64) @ exact(tensor).T
    error = np.sum((_product(backend, weight, x) - expected) ** 2) / np.sum(expected**2)
    assert error < 5e-5


@pytest.mark.parametrize("kind", PRODUCT_KINDS)
def test_two_lanes_a_row(backend: NumbaBackend, kind: str) -> None:
    """With what rounding took in a second lane, the NMSE falls below 1e-9, in batches of any size with equal bits."""
    tensor = _matrix(kind)
    weight = attrs.evolve(backend.load(tensor, frozenset({"linear"})), lanes_per_row=2)
    x = np.random.default_rng(5).standard_normal((21, weight.columns)).astype(np.float32)
    expected = x.astype(np.float64) @ exact(tensor).T
    together = _product(backend, weight, x)
    assert np.sum((together - expected) ** 2) / np.sum(expected**2) < 1e-9
    for size in (1, 2, 13):
        parts = [_product(backend, weight, x[i : i + size]) for i in range(0, len(x), size)]
        np.testing.assert_array_equal(np.concatenate(parts).view(np.uint32), together.view(np.uint32))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_batch_size_does_not_change_bits(backend: NumbaBackend, kind: str) -> None:
    """Tokens alone, in threes and in twenties: tiles of one and of eight agree."""
    weight = backend.load(_matrix(kind), frozenset({"linear"}))
    x = np.random.default_rng(3).standard_normal((20, weight.columns)).astype(np.float32)
    together = _product(backend, weight, x)
    for size in (1, 3, 13):
        parts = [_product(backend, weight, x[i : i + size]) for i in range(0, len(x), size)]
        np.testing.assert_array_equal(np.concatenate(parts).view(np.uint32), together.view(np.uint32))


@pytest.mark.parametrize("kind", [*PRODUCT_KINDS, "F16"])
def test_instruction_sets_agree(
    monkeypatch: pytest.MonkeyPatch, make_backend: Callable[..., NumbaBackend], kind: str
) -> None:
    """Every path that this machine can run gives the bits of the generic one."""
    tensor = _matrix(kind)
    x = np.random.default_rng(4).standard_normal((12, tensor.shape[1])).astype(np.float32)
    found = {}
    for path in isa.available():
        monkeypatch.setenv("REALIZAR_ISA", path)
        backend = make_backend()
        weight = backend.load(tensor, frozenset({"linear"}))
        found[path] = np.concatenate([_product(backend, weight, x), _product(backend, weight, x[:1])])
    for path, values in found.items():
        np.testing.assert_array_equal(values.view(np.uint32), found["generic"].view(np.uint32), err_msg=path)


def test_extreme_activations(backend: NumbaBackend) -> None:
    """Blocks of zeros, of one huge value and of tiny ones are all exact multiples of their scale."""
    weight = backend.load(random_matrix("Q8_0", 16, 96), frozenset({"linear"}))
    x = np.zeros((3, 96), np.float32)
    x[1, 5], x[1, 40] = 3e30, -1e-30
    x[2, :] = 1e-20
    expected = rounded_to_8_bits(x) @ exact(random_matrix("Q8_0", 16, 96)).T
    np.testing.assert_allclose(_product(backend, weight, x), expected, rtol=1e-5, atol=1e-37)


def test_every_layout_is_known_to_core() -> None:
    """Names are ggml's."""
    from realizar.dtypes import DTYPES

    assert set(INTEGER_LAYOUTS) | set(FLOAT_LAYOUTS) <= set(DTYPES)
