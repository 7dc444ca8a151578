"""Repacking against the reference dequantization, by a NumPy reading of quants.cuh and of its constants."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from realizar.dtypes import DTYPES
from realizar.quant import dequantize
from realizar.testing.blocks import random_blocks
from realizar_cuda.compiler import SOURCES
from realizar_cuda.planes import REPACK

_SPEC = importlib.util.spec_from_file_location("decoding", Path(__file__).parent / "decoding.py")
assert _SPEC is not None and _SPEC.loader is not None
decoding = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(decoding)


def sizes_in_source() -> dict[str, dict[str, int]]:
    """LOW, HIGH, SCALES and SUPER of each struct of quants.cuh."""
    text = (SOURCES / "quants.cuh").read_text()
    found = re.findall(
        r"struct (\w+)[^{]*\{[^}]*?LOW = (\d+), HIGH = (\d+), SCALES = (\d+), SUPER = (\d+)", text, re.DOTALL
    )
    return {name: dict(zip(("low", "high", "scales", "super"), map(int, rest), strict=True)) for name, *rest in found}


SIZES = sizes_in_source()


def test_every_repacked_type_has_a_struct():
    assert set(SIZES) == set(REPACK)


@pytest.mark.parametrize("kind", REPACK)
def test_planes_are_as_large_as_the_source_says(kind):
    element = DTYPES[kind]
    blocks = random_blocks(element, 3, element.block_size, np.random.default_rng(1))
    planes = REPACK[kind](blocks)
    chunks = element.block_size // 32
    for name, nbytes in SIZES[kind].items():
        plane = getattr(planes, name)
        expected = nbytes if name == "super" else nbytes * chunks
        assert (0 if plane is None else plane.shape[1]) == expected, name
        assert plane is None or (plane.dtype == np.uint8 and len(plane) == 3)


@pytest.mark.parametrize("kind", REPACK)
def test_planes_hold_the_weights(kind):
    element = DTYPES[kind]
    rows = random_blocks(element, 7, 2 * element.block_size, np.random.default_rng(2))
    planes = REPACK[kind](rows.reshape(-1, element.block_nbytes))
    found = decoding.decoded(kind, planes, SIZES[kind]["low"], SIZES[kind]["high"])
    expected = dequantize(rows, element).reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
