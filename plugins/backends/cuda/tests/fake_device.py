"""A device without a GPU: arrays are NumPy's, launches are written down and their arguments packed, nothing runs."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import numpy as np

from realizar_cuda.driver import Arguments
from realizar_cuda.kernels import FORMATS, base_name


class Array(np.ndarray):
    """A NumPy array with the two things of CuPy's that the backend uses."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)

    def get(self) -> np.ndarray:
        return np.array(self)


class Stream:
    """Records what is captured."""

    def __init__(self) -> None:
        self.ptr, self.captures, self.graph_launches = 0, 0, 0

    def begin_capture(self) -> None:
        self.captures += 1

    def end_capture(self) -> Any:
        return SimpleNamespace(launch=self._launched)

    def _launched(self, stream: Any) -> None:
        self.graph_launches += 1


class FakeDevice:
    """Has the surface of `realizar_cuda.device.Device`; launches: (name, grid, block, values, shared bytes)."""

    num_processors, shared_nbytes, free_nbytes = 132, 226 << 10, 8 << 30

    def __init__(self) -> None:
        self.launches: list[tuple[str, tuple[int, ...], int, tuple[Any, ...], int]] = []
        self.stream: Any = _Entered()
        self.prepared: set[str] = set()
        self.products: list[tuple[Any, ...]] = []
        self._kept: list[Any] = []
        pool = SimpleNamespace(free_bytes=lambda: 0, used_bytes=lambda: 0)
        self.cupy = SimpleNamespace(
            get_default_memory_pool=lambda: pool,
            cuda=SimpleNamespace(runtime=SimpleNamespace(memGetInfo=lambda: (self.free_nbytes, 80 << 30))),
        )
        self.compiler = SimpleNamespace(cache=SimpleNamespace(problem=None))

    def activate(self) -> None: ...

    def synchronize(self) -> None: ...

    def close(self) -> None:
        self._kept.clear()

    def launch(self, name: str, grid: Any, block: int, values: Any, shared_nbytes: int = 0) -> None:
        Arguments(FORMATS[base_name(name)]).pack(tuple(values))
        assert block % 32 == 0 and 0 < block <= 1024 and shared_nbytes <= self.shared_nbytes
        x, y, z = (*grid, 1, 1)[:3]
        assert x < 2**31 and y < 65536 and z < 65536
        self.launches.append((name, (x, y, z), block, tuple(values), shared_nbytes))

    def names_launched(self, run: Any) -> list[str]:
        before = len(self.launches)
        run()
        names = [name for name, *_ in self.launches[before:]]
        del self.launches[before:]
        return names

    def prepare(self, names: Any) -> None:
        self.prepared.update(names)

    def scratch(self, name: str, nbytes: int) -> int:
        self._kept.append(self.zeros((nbytes,), np.uint8))
        return int(self._kept[-1].data.ptr)

    def zeros(self, shape: Any, dtype: Any = np.float32) -> Array:
        return np.zeros(tuple(shape), dtype).view(Array)

    def filled(self, shape: Any, number: float) -> Array:
        return np.full(tuple(shape), number, np.float32).view(Array)

    def upload(self, array: Any) -> Array:
        return np.array(array, order="C").view(Array)

    def pinned(self, size: int, dtype: Any) -> np.ndarray:
        return np.zeros(size, dtype)

    def copy(self, to: int, source: int, nbytes: int, *, to_host: bool = False) -> None:
        assert to and source and nbytes

    def no_room(self, nbytes: int) -> Exception:
        return MemoryError(nbytes)


class _Entered(Stream, contextlib.nullcontext):  # type: ignore[misc]
    """A stream that can be entered."""

    def __init__(self) -> None:
        Stream.__init__(self)
        contextlib.nullcontext.__init__(self)
