"""NumPy memory for kernels: aligned to cache lines, and known by address."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

_LINE = 64


def aligned_zeros(nbytes: int) -> NDArray[np.uint8]:
    """Zeroed bytes that start at a cache line."""
    raw = np.zeros(nbytes + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + nbytes]


def aligned_matrix(rows: int, width: int) -> NDArray[np.float32]:
    """A zeroed float32 matrix that starts at a cache line."""
    return aligned_zeros(4 * rows * width).view(np.float32).reshape(rows, width)


@attrs.frozen
class Matrix:
    """Float rows as a kernel sees them. num_rows: address of the int64 that says how many are in use."""

    address: int
    stride: int
    width: int
    num_rows: int


def matrix(array: NDArray[np.float32], num_rows: int) -> Matrix:
    """The kernel's view of a float32 array whose rows are contiguous; raises TypeError for any other."""
    if array.dtype != np.float32 or array.ndim != 2 or (array.shape[1] > 1 and array.strides[1] != 4):
        raise TypeError(f"kernels take float32 matrices with contiguous rows; found {array.dtype} {array.shape}")
    return Matrix(array.ctypes.data, array.strides[0], array.shape[1], num_rows)


def address(array: NDArray[Any]) -> int:
    """Where an array starts."""
    return int(array.ctypes.data)
