"""Memory of an engine's weights: one mapping, taken piece by piece, and given back as a whole."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

from realizar_numba.memory import LINE_NBYTES, map_zeros

HUGE_PAGE_NBYTES = 1 << 21
"""Mappings start at such addresses: a kernel that has huge pages can use them from the first byte on."""


def rounded(nbytes: int) -> int:
    """The bytes that a piece takes: whole cache lines."""
    return -(-nbytes // LINE_NBYTES) * LINE_NBYTES


class Arena:
    """Zeroed memory. Pages that nobody has written take no room, so `reserve` may be generous."""

    def __init__(self) -> None:
        self._mappings: list[mmap.mmap] = []
        self._room = np.empty(0, np.uint8)

    def reserve(self, nbytes: int) -> None:
        """Map room for `nbytes` (a sum of `rounded` pieces), of which `take` then hands out; raises ModelError."""
        mapping = map_zeros(nbytes + HUGE_PAGE_NBYTES, huge_pages=True)
        self._mappings.append(mapping)
        whole = np.frombuffer(mapping, np.uint8)
        start = -whole.ctypes.data % HUGE_PAGE_NBYTES
        self._room = whole[start : start + nbytes]

    def take(self, nbytes: int) -> NDArray[np.uint8]:
        """The next `nbytes`, from a cache line on; a mapping of its own if there is no room left."""
        if rounded(nbytes) > self._room.nbytes:
            self.reserve(rounded(nbytes))
        taken, self._room = self._room[:nbytes], self._room[rounded(nbytes) :]
        return taken

    def release(self) -> None:
        """Give all memory back at once; arrays that were taken stay readable, but where the system can, hold zeros."""
        for mapping in self._mappings:
            if hasattr(mmap, "MADV_DONTNEED"):
                mapping.madvise(mmap.MADV_DONTNEED)
        self._mappings.clear()
        self._room = np.empty(0, np.uint8)
