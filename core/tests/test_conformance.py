"""The reference in float32 against the same definitions in float64."""

from __future__ import annotations

import pytest

from realizar.backend import Backend
from realizar.reference import NumpyBackend
from realizar.testing import BackendConformance, Tolerance


@pytest.mark.proves("float64", type="{kind}", backend="numpy")
class TestNumpy(BackendConformance):
    """The reference makes temporaries, and BLAS sums in an order that depends on the batch."""

    tolerance = Tolerance(nmse=1e-12)
    max_step_nbytes = None
    block_sizes = (16, 4, 1)

    def make_backend(self) -> Backend:
        return NumpyBackend()
