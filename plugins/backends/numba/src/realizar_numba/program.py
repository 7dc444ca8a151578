"""A program: the phases of a step in order, with everything they point to kept alive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import address, aligned_zeros
from realizar_numba.pool import ALWAYS, PHASE, Table
from realizar_numba.records import fill


class Scratch:
    """Memory that phases use one after another; equal requests share it, so all layers work in the same cache lines."""

    def __init__(self) -> None:
        self._areas: dict[tuple[str, int], NDArray[np.uint8]] = {}

    def area(self, name: str, nbytes: int) -> NDArray[np.uint8]:
        """The area of that name and size."""
        key = (name, nbytes)
        if key not in self._areas:
            self._areas[key] = aligned_zeros(nbytes)
        return self._areas[key]


class Program:
    """Appended to by the `append_*` functions of `realizar_numba.kernels`, then frozen into the pool's table."""

    def __init__(self, kernels: Kernels, num_threads: int, scratch: Scratch | None = None) -> None:
        self.kernels, self.num_threads = kernels, num_threads
        self._scratch = scratch or Scratch()
        self._phases: list[tuple[int, int, int]] = []
        self._kept: list[Any] = []

    def append(self, function: int, arguments: NDArray[Any], barrier: int = ALWAYS) -> None:
        """Add a phase: the address of its kernel, its argument record, the barrier after it."""
        self._phases.append((function, self.keep(arguments), barrier))

    def keep(self, array: NDArray[Any]) -> int:
        """The address of an array that lives as long as this program."""
        self._kept.append(array)
        return address(array)

    def scratch(self, name: str, nbytes_per_thread: int) -> int:
        """The address of scratch memory, `nbytes_per_thread` for each thread, that other programs may use in turn."""
        return self.keep(self._scratch.area(name, nbytes_per_thread * self.num_threads))

    def record(self, kind: np.dtype[Any], **fields: float) -> int:
        """The address of a record that lives as long as this program."""
        return self.keep(fill(kind, **fields))

    def extend(self, other: Program) -> None:
        """Append another program's phases."""
        self._phases += other._phases
        self._kept.append(other)

    def table(self) -> Table:
        """What `ThreadPool.run` takes; the program must outlive it."""
        phases = np.array(self._phases, np.int64).reshape(-1, 3).view(PHASE).reshape(-1)
        if len(phases):
            phases[-1]["barrier"] = ALWAYS
        return Table(phases, address(phases), len(phases))
