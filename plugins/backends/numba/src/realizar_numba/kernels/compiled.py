"""Kernels by name: loaded from the compile cache, or compiled with visible progress, once a process."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any

from numba.core import types
from numba.core.ccallback import CFunc

from realizar.progress import Progress
from realizar_numba.cache import CodeCache
from realizar_numba.compile_ahead import Wanted, compile_ahead
from realizar_numba.linker import ObjectCode, link, machine, provide_library_functions
from realizar_numba.simd.jit import OPTIONS

PHASE_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
"""A phase as Python calls it, without holding the GIL: thread, num_threads, address of its arguments."""

_lock = threading.RLock()
_addresses: dict[tuple[Any, ...], int] = {}


class Kernels:
    """Gives addresses of compiled functions; one instruction-set path, one cache."""

    def __init__(self, isa: str, cache: CodeCache, progress: Progress) -> None:
        self.isa, self.cache, self.progress = isa, cache, progress
        self._compiled_now = 0
        self._gathered: dict[tuple[Any, ...], Wanted] | None = None

    def address(self, label: str, build: Callable[..., Callable[..., Any]], *config: Any) -> int:
        """The C function `build(*config)`, all of whose parameters are int64. `label` names it to the user.

        Its code depends on the sources, the machine, and `config` alone.
        """
        key = (build.__module__, build.__qualname__, *config)
        with _lock:
            if key not in _addresses:
                path = self.cache.path(key, machine())
                if self._gathered is not None:
                    if path is not None and not path.exists():
                        self._gathered[key] = Wanted(label, build, config)
                    return 0
                code = None if path is None else self.cache.read(path)
                if code is None:
                    self._announce(label)
                    code = ObjectCode.of(compile_function(build(*config)))
                    if path is not None:
                        self.cache.write(path, code)
                _addresses[key] = link(code)
            return _addresses[key]

    def function(self, label: str, build: Callable[..., Callable[..., Any]], *config: Any) -> Callable[..., None]:
        """The same as a PHASE_FUNCTION."""
        function: Callable[..., None] = PHASE_FUNCTION(self.address(label, build, *config))
        return function

    @contextlib.contextmanager
    def gathering(self, processes: int) -> Iterator[None]:
        """Compile ahead, in so many processes, what the body asks for and the cache lacks.

        Inside, addresses of what is not yet loaded are 0: the body's programs are drafts, and must not be run.
        """
        self._gathered = {}
        try:
            yield
            wanted = list(self._gathered.values())
        finally:
            self._gathered = None
        if self.cache.directory is not None and processes > 1 and len(wanted) > 1:
            compile_ahead(wanted, self.cache.directory, processes, self.progress)

    def _announce(self, label: str) -> None:
        self._compiled_now += 1
        self.progress(f"compiling {label}", self._compiled_now, 0)


def compile_function(function: Callable[..., Any]) -> CFunc:
    """A C function of a Python function marked `whole`."""
    provide_library_functions()  # Numba links what it compiles
    parameters = (types.int64,) * function.__code__.co_argcount
    compiled = CFunc(function, (parameters, types.void), {}, dict(OPTIONS))
    compiled.compile()
    return compiled
