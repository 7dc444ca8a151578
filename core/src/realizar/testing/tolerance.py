"""How far two results may differ."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.parity.error import normalized_mean_square_error

Real = NDArray[np.floating[Any]]


@attrs.frozen
class Tolerance:
    """nmse: the greatest normalized mean square error, mean((actual - expected)^2) / mean(expected^2)."""

    nmse: float = 1e-9

    def check(self, actual: Real, expected: Real, what: str, scale: Real | None = None) -> None:
        """Raise AssertionError naming `what` if `actual` has another shape, a NaN, or too great an error.

        scale: what the error of each element is measured against; the root mean square of `expected` unless given.
        """
        assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
        error = normalized_mean_square_error(actual, expected, scale)
        assert error <= self.nmse, f"{what}: NMSE {error:.3g}, at most {self.nmse:.3g} is allowed"
