"""The chosen GPU: its stream, its loaded kernels, its memory. Made when a backend is, never before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realizar.errors import BackendUnavailable
from realizar.progress import Progress
from realizar_cuda.compiler import Compiler
from realizar_cuda.cubin_cache import CubinCache
from realizar_cuda.driver import Function
from realizar_cuda.kernels import FORMATS, LATE, base_name, kernel_name

COMPILING_THREADS = 8

STATIC_NBYTES = 1024
"""Shared memory of a block left to what kernels declare themselves."""


class Device:
    """Device 0 of those that CUDA_VISIBLE_DEVICES leaves; used from one thread at a time.

    shared_nbytes: what a block may have at most. early: whether kernels may overlap with their predecessors.
    """

    def __init__(self, progress: Progress) -> None:
        import cupy

        self.cupy, self._progress = cupy, progress
        self._device = cupy.cuda.Device(0)
        self.activate()
        attributes = self._device.attributes
        self.num_processors: int = attributes["MultiProcessorCount"]
        self.shared_nbytes: int = attributes["MaxSharedMemoryPerBlockOptin"] - STATIC_NBYTES
        self.capability = divmod(int(self._device.compute_capability), 10)
        self.early = self.capability >= (9, 0)
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.compiler = Compiler(self.capability, CubinCache())
        self._functions: dict[str, Function] = {}
        self._loaded: list[Any] = []
        self._collecting: list[str] | None = None
        self._scratch: dict[tuple[str, int], Any] = {}

    def activate(self) -> None:
        """Make it the current device of the calling thread."""
        self._device.use()

    def function(self, name: str) -> Function:
        """A kernel by its full name, compiled and loaded at the first call."""
        found = self._functions.get(name)
        return found if found is not None else self._load(name, self.compiler.compile(kernel_name(name)))

    def names_launched(self, run: Callable[[], None]) -> list[str]:
        """The kernels that `run` would launch; none is launched."""
        names = self._collecting = []
        try:
            run()
        finally:
            self._collecting = None
        return names

    def prepare(self, names: Iterable[str]) -> None:
        """Compile kernels that will be used, several at a time."""
        missing = [name for name in dict.fromkeys(names) if name not in self._functions]
        with ThreadPoolExecutor(COMPILING_THREADS) as pool:
            compiled = pool.map(lambda name: self.compiler.compile(kernel_name(name)), missing)
            for done, (name, code) in enumerate(zip(missing, compiled, strict=True)):
                self._progress("compiling kernels", done, len(missing))
                self._load(name, code)
        if missing:
            self._progress("compiling kernels", len(missing), len(missing))

    def _load(self, name: str, compiled: tuple[str, bytes]) -> Function:
        from cupy.cuda.function import Module

        symbol, code = compiled
        module = Module()
        module.load(code)
        raw = module.get_function(symbol)
        self._loaded.append((module, raw))
        base = base_name(name)
        made = self._functions[name] = Function(raw.ptr, name, FORMATS[base], early=self.early and base not in LATE)
        if base in ("gemv", "tile_product", "prompt_attention"):
            made.allow_shared(self.shared_nbytes)
        return made

    def launch(self, name: str, grid: Sequence[int], block: int, values: Sequence[Any], shared_nbytes: int = 0) -> None:
        """Queue a kernel on the stream; nothing is queued for an empty grid."""
        if self._collecting is not None:
            self._collecting.append(name)
            return
        x, y, z = (*grid, 1, 1)[:3]
        if x and y and z:
            self.function(name).launch(self.stream.ptr, (x, y, z), block, values, shared_nbytes)

    def scratch(self, name: str, nbytes: int) -> int:
        """Address of memory for the use of one op at a time, zeros at first; kept, as captured graphs hold it."""
        size = 1 << max(8, (nbytes - 1).bit_length())
        if (name, size) not in self._scratch:
            self._scratch[name, size] = self.zeros((size,), np.uint8)
        return int(self._scratch[name, size].data.ptr)

    def zeros(self, shape: Sequence[int], dtype: Any = np.float32) -> Any:
        """A CuPy array of zeros; raises BackendUnavailable with numbers if there is no room."""
        with self.stream:
            try:
                return self.cupy.zeros(tuple(shape), dtype)
            except self.cupy.cuda.memory.OutOfMemoryError as error:
                raise self.no_room(int(np.prod(shape)) * np.dtype(dtype).itemsize) from error

    def filled(self, shape: Sequence[int], number: float) -> Any:
        """A float32 CuPy array of one number."""
        array = self.zeros(shape)
        with self.stream:
            array.fill(number)
        return array

    def upload(self, array: NDArray[Any]) -> Any:
        """A copy on the device."""
        with self.stream:
            try:
                return self.cupy.asarray(np.ascontiguousarray(array))
            except self.cupy.cuda.memory.OutOfMemoryError as error:
                raise self.no_room(array.nbytes) from error

    def pinned(self, size: int, dtype: Any) -> NDArray[Any]:
        """Zeroed host memory that the device copies from and to by itself."""
        memory = self.cupy.cuda.alloc_pinned_memory(size * np.dtype(dtype).itemsize)
        array: NDArray[Any] = np.frombuffer(memory, dtype, size)
        array[:] = 0
        return array

    def copy(self, to: int, source: int, nbytes: int, *, to_host: bool = False) -> None:
        """Queue a copy between pinned host memory and the device."""
        runtime = self.cupy.cuda.runtime
        kind = runtime.memcpyDeviceToHost if to_host else runtime.memcpyHostToDevice
        runtime.memcpyAsync(to, source, nbytes, kind, self.stream.ptr)

    def no_room(self, nbytes: int) -> BackendUnavailable:
        """The error for memory that cannot be had."""
        free, total = self.cupy.cuda.runtime.memGetInfo()
        held = self.cupy.get_default_memory_pool().used_bytes()
        return BackendUnavailable(
            f"backend 'cuda': {nbytes / 2**20:.0f} MiB more are needed on the GPU; {free / 2**20:.0f} of "
            f"{total / 2**20:.0f} MiB are free, this model holds {held / 2**20:.0f} MiB; take a smaller model "
            f"or a shorter context, or stop other processes that use the GPU"
        )

    def synchronize(self) -> None:
        """Wait for all that is queued."""
        self.stream.synchronize()

    def close(self) -> None:
        """Give memory back; the device must not be used afterwards."""
        self.activate()
        self.synchronize()
        self._functions.clear()
        self._scratch.clear()
        self._loaded.clear()
        self.cupy.get_default_memory_pool().free_all_blocks()
