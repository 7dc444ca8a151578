"""How functions are compiled."""

from __future__ import annotations

from collections.abc import Sequence
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


def in_order(functions: Sequence[Any]) -> Any:
    """A compiled function that calls compiled functions one after another, all with its arguments.

    A loop over them, unrolled whatever LLVM thinks of its length: what differs between them are constants.
    """
    first, *others = functions
    if not others:
        return first
    rest = in_order(others)

    @compiled
    def both(*arguments):
        first(*arguments)
        rest(*arguments)

    return both


def whole(function: F) -> F:
    """Decorator, a mark and no more: a function that `Kernels` compiles as a whole, with int64 parameters only."""
    return function
