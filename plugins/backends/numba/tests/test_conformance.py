"""The backend conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from realizar.backend import Backend, BackendOptions
from realizar.testing import BackendConformance, Tolerance
from realizar_numba.backend import NumbaBackend
from realizar_numba.weights.registry import INTEGER_LAYOUTS

EIGHT_BITS = Tolerance(nmse=1e-4)
"""Activations rounded to 8 bits in blocks of 32: about 2.5e-5 of normal values, up to 4.5e-5 in one short batch."""


@pytest.mark.proves("float64", type="{kind}", backend="numba")
class TestNumba(BackendConformance):
    """A cache block must be whole chunks of 16 tokens."""

    weight_tolerances: ClassVar[Mapping[str, Tolerance]] = dict.fromkeys(INTEGER_LAYOUTS, EIGHT_BITS)
    batch_invariant: ClassVar[bool] = True
    block_sizes: ClassVar[tuple[int, ...]] = (16, 32)

    def make_backend(self) -> Backend:
        return NumbaBackend(BackendOptions(threads=2))
