"""Kernel launches through the driver: arguments laid out as the kernel reads them, attributes where they are wanted.

CuPy's own launcher takes no attributes and 5 to 13 microseconds a call. Structures: CUDA driver API, `cuda.h`.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from collections.abc import Sequence
from typing import Any

from realizar.errors import RealizarError

PROGRAMMATIC_STREAM_SERIALIZATION = 6
"""CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION: a kernel may start before the one ahead of it has ended."""


MAX_DYNAMIC_SHARED_SIZE_BYTES = 8
"""CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: above 48 KiB a kernel must ask."""


class _Attribute(ctypes.Structure):
    """CUlaunchAttribute: id, padding, a value of 64 bytes."""

    _fields_ = (
        ("id", ctypes.c_uint), ("pad", ctypes.c_char * 4), ("value", ctypes.c_int), ("rest", ctypes.c_char * 60),
    )  # fmt: skip


class _Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared_nbytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p), ("attributes", ctypes.POINTER(_Attribute)), ("num_attributes", ctypes.c_uint),
    )  # fmt: skip


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


class Arguments:
    """Packs a kernel's parameters: `formats` are struct formats, one a parameter, such as "P", "i", "f" or "PPii"."""

    def __init__(self, formats: Sequence[str]) -> None:
        self._structs = [struct.Struct("@" + item) for item in formats]
        self._counts = [len(item.unpack(bytes(item.size))) for item in self._structs]
        offsets, total = [], 0
        for item in self._structs:
            offsets.append(total)
            total += -(-item.size // 16) * 16
        self.buffer = ctypes.create_string_buffer(max(16, total))
        base = ctypes.addressof(self.buffer)
        self._offsets = offsets
        self.pointers = (ctypes.c_void_p * len(offsets))(*(base + offset for offset in offsets))

    def pack(self, values: Sequence[Any]) -> None:
        """Write the parameters, all numbers one after another."""
        at = 0
        for item, offset, count in zip(self._structs, self._offsets, self._counts, strict=True):
            item.pack_into(self.buffer, offset, *values[at : at + count])
            at += count
        if at != len(values):
            raise ValueError(f"{len(values)} values for parameters that take {at}")


class Function:
    """A loaded kernel. early: whether it may start before its predecessor ends (it then waits by itself)."""

    def __init__(self, handle: int, name: str, formats: Sequence[str], *, early: bool) -> None:
        self.name, self._handle = name, ctypes.c_void_p(handle)
        self._arguments = Arguments(formats)
        self._attribute = _Attribute(PROGRAMMATIC_STREAM_SERIALIZATION, b"", 1, b"")
        self._config = _Config()
        self._config.attributes = ctypes.pointer(self._attribute)
        self._config.num_attributes = int(early)

    def allow_shared(self, nbytes: int) -> None:
        """Let launches take so much dynamic shared memory."""
        self._check(_library().cuFuncSetAttribute(self._handle, MAX_DYNAMIC_SHARED_SIZE_BYTES, nbytes), "attribute")

    def launch(
        self, stream: int, grid: tuple[int, int, int], block: int, values: Sequence[Any], shared_nbytes: int = 0
    ) -> None:
        """Queue the kernel on a stream; arguments are copied before this returns."""
        config = self._config
        config.grid[:] = grid
        config.block[:] = (block, 1, 1)
        config.shared_nbytes, config.stream = shared_nbytes, stream
        self._arguments.pack(values)
        self._check(
            _library().cuLaunchKernelEx(ctypes.byref(config), self._handle, self._arguments.pointers, None), "launch"
        )

    def _check(self, status: int, what: str) -> None:
        if status:
            raise RealizarError(f"kernel {self.name}: the driver refused the {what}: {error_name(status)} ({status})")


def error_name(status: int) -> str:
    """The driver's name of an error, such as CUDA_ERROR_ILLEGAL_ADDRESS."""
    text = ctypes.c_char_p()
    _library().cuGetErrorName(status, ctypes.byref(text))
    return (text.value or b"unknown").decode()
