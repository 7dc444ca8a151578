"""From a file's tensors to packed weights: on all threads, into one arena."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realizar.backend import Buffer
from realizar.dtypes import DType
from realizar.quant import dequantize
from realizar.tensors import LazyTensor
from realizar_numba.arena import Arena, rounded
from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import address, aligned_zeros
from realizar_numba.pool import ThreadPool
from realizar_numba.program import Program
from realizar_numba.records import fill
from realizar_numba.weights.packed import PACK, PackedWeight, build_pack, packed_nbytes
from realizar_numba.weights.packing import ROWS
from realizar_numba.weights.registry import LAYOUTS

Bytes = NDArray[np.uint8]

DEQUANTIZED_NBYTES = 1 << 24
"""Bytes of float32 rows that are made at a time of a type without a layout."""


class WeightLoader:
    """Packs tensors one after another; owns the memory of the weights."""

    def __init__(self, kernels: Kernels, pool: ThreadPool) -> None:
        self._kernels, self._pool = kernels, pool
        self.arena = Arena()
        self._dequantized: defaultdict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(3, np.int64))
        """Type -> tensors, their bytes in the file, their bytes in memory."""

    def reserve(self, tensors: Sequence[LazyTensor], prepacked: frozenset[str]) -> None:
        """Size the arena for these tensors, of which only the headers are read; compile what packs the rest."""
        self.arena.reserve(arena_nbytes(tensors))
        packed = [tensor for tensor in tensors if len(tensor.shape) > 1 and tensor.name not in prepacked]
        with self._kernels.gathering(self._pool.num_threads):
            for name in {_layout_name(tensor.dtype) for tensor in packed}:
                self._packing(name)

    def load(self, tensor: LazyTensor, is_plain: bool) -> Buffer:
        """A vector as float32, and whatever is to be plain; a matrix packed, a stack of matrices as a list of those."""
        if len(tensor.shape) < 2 or is_plain:
            return np.array(tensor.to_float32())
        room = self.arena.take(arena_nbytes([tensor]))
        self._pack_into(room, tensor)
        return self._loaded(tensor, room)

    def prepack(self, tensor: LazyTensor) -> Bytes:
        """The bytes of a loaded matrix or stack, zeros where pieces are filled up to whole cache lines."""
        room = aligned_zeros(arena_nbytes([tensor]))
        self._pack_into(room, tensor)
        return room

    def load_prepacked(self, tensor: LazyTensor, data: Bytes) -> Buffer:
        """As `load`, from what `prepack` gave: one copy into the arena, whose huge pages a mapped file has not."""
        room = self.arena.take(arena_nbytes([tensor]))
        np.copyto(room, data)
        return self._loaded(tensor, room)

    def notes(self) -> list[str]:
        """Types that run dequantized and what they cost."""
        notes = []
        for name, counts in sorted(self._dequantized.items()):
            count, in_file, in_memory = counts.tolist()
            notes.append(
                f"{count} {name} tensor{'s' * (count != 1)} dequantized to F32: "
                f"{in_memory / 1e6:.1f} MB in memory, {in_file / 1e6:.1f} MB in the file"
            )
        return notes

    def _loaded(self, tensor: LazyTensor, room: Bytes) -> Buffer:
        weights = self._weights(tensor, room)
        if tensor.dtype.name not in LAYOUTS:
            self._dequantized[tensor.dtype.name] += np.array([1, tensor.nbytes, 4 * math.prod(tensor.shape)])
        return weights if len(tensor.shape) > 2 else weights[0]

    def _weights(self, tensor: LazyTensor, room: Bytes) -> list[PackedWeight]:
        """The matrices of a tensor, one after another in `room`."""
        rows, columns = tensor.shape[-2:]
        name = _layout_name(tensor.dtype)
        nbytes, group_nbytes = packed_nbytes(name, rows, columns), LAYOUTS[name].group_nbytes(columns)
        starts = [i * rounded(nbytes) for i in range(math.prod(tensor.shape[:-2]))]
        return [PackedWeight(name, rows, columns, group_nbytes, room[at : at + nbytes], self._kernels) for at in starts]

    def _pack_into(self, room: Bytes, tensor: LazyTensor) -> None:
        rows, columns = tensor.shape[-2:]
        stack = tensor.read().reshape(-1, rows, *_row_shape(tensor))
        for weight, stored in zip(self._weights(tensor, room), stack, strict=True):
            for first, part in _parts(stored, tensor.dtype, columns):
                self._pack(weight, first, np.ascontiguousarray(part))

    def _pack(self, weight: PackedWeight, first: int, stored: NDArray[Any]) -> None:
        """Pack rows from number `first` on, which must start a group."""
        arguments = fill(
            PACK, source=address(stored), row_nbytes=stored.nbytes // len(stored), rows=len(stored),
            columns=weight.columns, group_nbytes=weight.group_nbytes,
            destination=address(weight.data) + first // ROWS * weight.group_nbytes,
        )  # fmt: skip
        name = weight.type_name
        program = Program(self._kernels, self._pool.num_threads)
        program.append(self._packing(name), arguments)
        one_token = np.ones(1, np.int64)
        self._pool.run(program.table(), address(one_token))

    def _packing(self, name: str) -> int:
        return self._kernels.address(f"packing ({name})", build_pack, name)


def _layout_name(element: DType) -> str:
    return element.name if element.name in LAYOUTS else "F32"


def _row_shape(tensor: LazyTensor) -> Sequence[int]:
    return (tensor.row_nbytes,) if tensor.dtype.is_quantized else tensor.shape[-1:]


def arena_nbytes(tensors: Iterable[LazyTensor]) -> int:
    """Bytes of the arena for these tensors, packed; only their headers are read."""
    return sum(map(_arena_nbytes, tensors))


def _arena_nbytes(tensor: LazyTensor) -> int:
    """Matrices one after another, each from a cache line on; none for a vector."""
    if len(tensor.shape) < 2:
        return 0
    *stack, rows, columns = tensor.shape
    return math.prod(stack) * rounded(packed_nbytes(_layout_name(tensor.dtype), rows, columns))


def _parts(stored: NDArray[Any], element: DType, columns: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """The rows as their layout wants them: all at once, or a few groups at a time where they must be dequantized."""
    if element.name in LAYOUTS:
        yield 0, stored
        return
    step = max(1, DEQUANTIZED_NBYTES // (4 * columns * ROWS)) * ROWS
    for first in range(0, len(stored), step):
        yield first, dequantize(stored[first : first + step], element).reshape(-1, columns)
