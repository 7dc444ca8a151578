"""A matrix in a kernel's layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import address, aligned_zeros
from realizar_numba.simd.jit import whole
from realizar_numba.simd.memory import store_f32
from realizar_numba.weights.packing import ROWS
from realizar_numba.weights.registry import INTEGER_LAYOUTS, LAYOUTS


@attrs.frozen
class PackedWeight:
    """`rows` x `columns` weights of a type with a layout, in groups of 16 rows (the last one padded with zeros).

    lanes_per_row: lanes of int8 activations that its kernel takes for each row of x.
    """

    type_name: str
    rows: int
    columns: int
    group_nbytes: int
    data: NDArray[np.uint8] = attrs.field(repr=False)
    _kernels: Kernels = attrs.field(repr=False, eq=False)
    lanes_per_row: int = 1

    @property
    def takes_integers(self) -> bool:
        """Whether its kernel reads int8 activations (else float32 rows)."""
        return self.type_name in INTEGER_LAYOUTS

    @property
    def num_groups(self) -> int:
        """Groups of 16 rows."""
        return -(-self.rows // ROWS)

    def to_float32(self) -> NDArray[np.float32]:
        """All elements as float32 [rows, columns]; for backends that override an op in NumPy."""
        unpack = self._kernels.function(f"unpacking ({self.type_name})", build_unpack, self.type_name)
        values = np.empty((self.rows, self.columns), np.float32)
        unpack(address(self.data), self.rows, self.columns, self.group_nbytes, address(values))
        return values


def build_pack(type_name: str) -> Callable[..., Any]:
    """A function that packs all groups: pack(source, row_nbytes, rows, columns, destination, group_nbytes)."""
    pack_group = LAYOUTS[type_name].build_pack_group()

    @whole
    def pack(source, row_nbytes, rows, columns, destination, group_nbytes):
        for first in range(0, rows, ROWS):
            group = destination + first // ROWS * group_nbytes
            pack_group(source + first * row_nbytes, row_nbytes, min(ROWS, rows - first), columns, group)

    return pack


def build_unpack(type_name: str) -> Callable[..., Any]:
    """A function that writes all elements as float32: unpack(data, rows, columns, group_nbytes, values)."""
    value = LAYOUTS[type_name].build_value()

    @whole
    def unpack(data, rows, columns, group_nbytes, values):
        for r in range(rows):
            group = data + r // ROWS * group_nbytes
            for c in range(columns):
                store_f32(values + 4 * (r * columns + c), value(group, r % ROWS, c))

    return unpack


def pack_matrix(kernels: Kernels, type_name: str, stored: NDArray[Any], columns: int) -> PackedWeight:
    """Pack rows as they are stored in a file: `stored` is [rows, ...], contiguous."""
    stored = np.ascontiguousarray(stored)
    rows, row_nbytes = len(stored), stored.nbytes // max(len(stored), 1)
    group_nbytes = LAYOUTS[type_name].group_nbytes(columns)
    data = aligned_zeros(-(-rows // ROWS) * group_nbytes)
    pack = kernels.function(f"packing ({type_name})", build_pack, type_name)
    pack(address(stored), row_nbytes, rows, columns, address(data), group_nbytes)
    return PackedWeight(type_name, rows, columns, group_nbytes, data, kernels)
