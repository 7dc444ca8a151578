"""A matrix in a kernel's layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import address
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.jit import whole
from realizar_numba.simd.memory import store_f32
from realizar_numba.weights.packing import ROWS
from realizar_numba.weights.registry import INTEGER_LAYOUTS, LAYOUTS

PACK = record("source", "row_nbytes", "rows", "columns", "destination", "group_nbytes")
"""source: rows as a file has them; destination: zeroed groups."""

UNPACK = record("data", "rows", "columns", "group_nbytes", "values")

_read_pack, _read_unpack = reader(PACK), reader(UNPACK)


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
        arguments = fill(
            UNPACK, data=address(self.data), rows=self.rows, columns=self.columns, group_nbytes=self.group_nbytes,
            values=address(values),
        )  # fmt: skip
        unpack(0, 1, address(arguments))
        return values


def packed_nbytes(type_name: str, rows: int, columns: int) -> int:
    """Bytes of a matrix in the layout of a type."""
    return -(-rows // ROWS) * LAYOUTS[type_name].group_nbytes(columns)


def build_pack(type_name: str) -> Callable[..., Any]:
    """The phase of PACK: groups shared out among the threads."""
    pack_group = LAYOUTS[type_name].build_pack_group()

    @whole
    def pack(thread, num_threads, arguments):
        a = _read_pack(arguments)
        groups = (a.rows + ROWS - 1) // ROWS
        for group in range(groups * thread // num_threads, groups * (thread + 1) // num_threads):
            first = group * ROWS
            destination = a.destination + group * a.group_nbytes
            pack_group(a.source + first * a.row_nbytes, a.row_nbytes, min(ROWS, a.rows - first), a.columns, destination)

    return pack


def build_unpack(type_name: str) -> Callable[..., Any]:
    """The phase of UNPACK: writes all elements as float32, rows shared out among the threads."""
    value = LAYOUTS[type_name].build_value()

    @whole
    def unpack(thread, num_threads, arguments):
        a = _read_unpack(arguments)
        for r in range(thread, a.rows, num_threads):
            group = a.data + r // ROWS * a.group_nbytes
            for c in range(a.columns):
                store_f32(a.values + 4 * (r * a.columns + c), value(group, r % ROWS, c))

    return unpack
