"""The backend conformance kit; where there is no GPU, all of it is skipped by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from realizar.backend import Backend
from realizar.testing import BackendConformance, Tolerance
from realizar_cuda.backend import CudaBackend
from realizar_cuda.planes import REPACK

EIGHT_BITS = Tolerance(nmse=1e-4)
"""Activations of a single token rounded to 8 bits in groups of 16."""

HALVES = {"F16": Tolerance(nmse=1e-6), "BF16": Tolerance(nmse=1e-5)}
"""Activations of several tokens in halves or, of more than 64 and bfloat16 weights, in bfloat16."""

AVAILABLE = CudaBackend.probe()

pytestmark = pytest.mark.skipif(not AVAILABLE.score, reason=f"device test: {AVAILABLE.detail}")


class TestCuda(BackendConformance):
    """Products of up to 64 tokens and of more sum in different orders."""

    weight_tolerances: ClassVar[Mapping[str, Tolerance]] = dict.fromkeys(REPACK, EIGHT_BITS) | HALVES
    block_sizes: ClassVar[tuple[int, ...]] = (16, 32)

    def make_backend(self) -> Backend:
        return CudaBackend()
