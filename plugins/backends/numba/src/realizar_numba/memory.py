"""NumPy memory for kernels: aligned to cache lines, and known by address."""

from __future__ import annotations

import contextlib
import mmap
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.errors import ModelError

LINE_NBYTES = 64


def aligned_zeros(nbytes: int) -> NDArray[np.uint8]:
    """Zeroed bytes that start at a cache line."""
    raw = np.zeros(nbytes + LINE_NBYTES, np.uint8)
    start = -raw.ctypes.data % LINE_NBYTES
    return raw[start : start + nbytes]


def map_zeros(nbytes: int, *, huge_pages: bool) -> mmap.mmap:
    """Zeroed memory from the system, which takes no room before it is used; raises ModelError if it is refused.

    huge_pages: whether the system should back it with pages of 2 MB or of 4 KB, where it has a choice.
    """
    anonymous = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    try:
        mapping = mmap.mmap(-1, nbytes, **anonymous)
    except (OSError, OverflowError) as error:
        raise ModelError(
            f"the system refuses {nbytes / 1e9:.1f} GB of memory ({error}); "
            f"use a smaller model, a smaller weight type or a shorter context"
        ) from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages; small ones are as right
            mapping.madvise(mmap.MADV_HUGEPAGE if huge_pages else mmap.MADV_NOHUGEPAGE)
    return mapping


def sparse_zeros(nbytes: int) -> NDArray[np.uint8]:
    """Zeroed bytes at a cache line, of which a few here and there are used: each costs 4 KB of memory, not 2 MB."""
    return np.frombuffer(map_zeros(max(nbytes, 1), huge_pages=False), np.uint8)[:nbytes]


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
