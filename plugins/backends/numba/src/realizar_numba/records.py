"""Argument records: how Python hands a kernel its sizes and addresses.

A record is a NumPy structure of int64 (addresses, sizes) and float32 fields. Kernels get its address and
read it by field name; whoever made it keeps it, and everything it points to, alive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype
from numba.core import types
from numpy.typing import NDArray

from realizar_numba.simd.types import I8, operation


def record(*integers: str, floats: tuple[str, ...] = ()) -> np.dtype[Any]:
    """A record type with these int64 fields, then these float32 fields."""
    return np.dtype([(name, "<i8") for name in integers] + [(name, "<f4") for name in floats], align=True)


def fill(kind: np.dtype[Any], **fields: float) -> NDArray[Any]:
    """A record (an array of length 1) with every field given by name."""
    assert kind.names is not None
    if set(fields) != set(kind.names):
        raise TypeError(f"record needs the fields {kind.names}; given {tuple(fields)}")
    values = np.zeros(1, kind)
    for name, value in fields.items():
        values[name] = value
    return values


def reader(kind: np.dtype[Any]) -> Any:
    """A function for compiled code: the address of a record -> the record, whose fields are read by name."""
    view = from_dtype(kind)
    pointer = ir.PointerType(ir.ArrayType(I8, kind.itemsize))

    @operation(lambda address: view(types.int64))
    def read(builder, address):
        return builder.inttoptr(address, pointer)

    return read
