"""Kernels by name: loaded from the compile cache, or compiled with visible progress, once a process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import types
from numba.core.ccallback import CFunc

from realizar.progress import Progress
from realizar_numba.cache import CodeCache
from realizar_numba.simd.jit import OPTIONS

_lock = threading.RLock()
_compiled: dict[tuple[Any, ...], Any] = {}


class Kernels:
    """Gives addresses of compiled functions; one instruction-set path, one cache."""

    def __init__(self, isa: str, cache: CodeCache, progress: Progress) -> None:
        self.isa, self.cache, self.progress = isa, cache, progress
        self._compiled_now = 0

    def address(self, label: str, build: Callable[..., Callable[..., Any]], *config: Any) -> int:
        """The C function `build(*config)`, all of whose parameters are int64. `label` names it to the user."""
        key = ("kernel", build.__module__, build.__qualname__, *config)
        with _lock:
            if key not in _compiled:
                python = build(*config)
                signature = types.void(*[types.int64] * python.__code__.co_argcount)
                function = CFunc(python, (signature.args, signature.return_type), {}, dict(OPTIONS))
                self._compile(label, key, function, lambda: function.compile())
            return int(_compiled[key].address)

    def function(self, label: str, build: Callable[..., Callable[..., Any]], *config: Any) -> Any:
        """The same for a function that Python calls, without holding the GIL."""
        key = ("function", build.__module__, build.__qualname__, *config)
        with _lock:
            if key not in _compiled:
                python = build(*config)
                signature = types.void(*[types.int64] * python.__code__.co_argcount)
                function = njit(**OPTIONS)(python)
                self._compile(label, key, function, lambda: function.compile(signature))
            return _compiled[key]

    def _compile(self, label: str, key: tuple[Any, ...], function: Any, compile_: Callable[[], Any]) -> None:
        function._cache = self.cache.entry(key, lambda: self._announce(label))
        compile_()
        _compiled[key] = function

    def _announce(self, label: str) -> None:
        self._compiled_now += 1
        self.progress(f"compiling {label}", self._compiled_now, 0)
