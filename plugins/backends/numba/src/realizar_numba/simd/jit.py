"""How functions are compiled."""

from __future__ import annotations

from typing import Any, TypeVar

from numba import njit

F = TypeVar("F")

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
"""Without the GIL, without Python exceptions from arithmetic, and without fast-math."""


def compiled(function: Any) -> Any:
    """Decorator: a function for compiled code to call, always inlined: registers passed down stay registers.

    Numba infers its types, so it carries no annotations. Python cannot call it: wrappers for that take compile time.
    """
    return njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)(function)


def whole(function: F) -> F:
    """Decorator, a mark and no more: a function that `Kernels` compiles as a whole, with int64 parameters only."""
    return function
