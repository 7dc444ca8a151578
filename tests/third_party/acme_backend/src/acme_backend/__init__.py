"""The numba backend with one op of our own; all the rest is inherited."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

import realizar
from realizar.backend import Backend, kernel
from realizar.reference.activations import ACTIVATION_FUNCTIONS
from realizar_numba.backend import NumbaBackend

REALIZAR_API = (1, 0)


class AcmeBackend(NumbaBackend):
    """Layers hold an overridden op, so they are walked instead of taken by numba's `compile_block`."""

    name = "acme"
    priority = -1

    num_calls = 0

    @kernel("act_mul")
    def act_mul(
        self, gate: NDArray[np.float32], up: NDArray[np.float32], *, kind: str, out: NDArray[np.float32]
    ) -> None:
        """activation(gate) * up, in NumPy."""
        AcmeBackend.num_calls += 1
        np.multiply(ACTIVATION_FUNCTIONS[kind](gate), up, out=out)


@realizar.hookimpl
def realizar_backends() -> Iterable[type[Backend]]:
    return [AcmeBackend]
