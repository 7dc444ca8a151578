"""How far one result is from another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating[Any]]


def normalized_mean_square_error(actual: Real, expected: Real, scale: Real | None = None) -> float:
    """In float64; infinite where `actual` is not finite, or differs where the scale is zero."""
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    if not np.isfinite(actual).all():
        return float("inf")
    against = np.sqrt(np.mean(np.square(expected))) if scale is None else scale
    difference = np.abs(actual - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(difference == 0, 0, difference / against)
    return float(np.mean(np.square(relative)))
