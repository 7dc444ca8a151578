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


def called(function: Any) -> Any:
    """Decorator: the same, but called where it stands: for long functions that are used more than once.

    Registers must not be passed to it.
    """
    return njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)(function)


def in_order(functions: Sequence[Any]) -> Any:
    """A compiled function that calls compiled functions one after another, all with its arguments."""
    first, *others = functions
    if not others:
        return first
    rest = in_order(others)

    @compiled
    def both(*arguments):
        first(*arguments)
        rest(*arguments)

    return both


MOST_UNROLLED = 8


def unrolled(function: Any, constants: Sequence[int]) -> Any:
    """A compiled function that calls another one with its own arguments and, one after another, these constants.

    A loop over them, unrolled whatever LLVM thinks of its length. One function for all: each costs compile time.
    """
    count = len(constants)
    assert 1 <= count <= MOST_UNROLLED
    a, b, c, d, e, f, g, h = (*constants, *[0] * (MOST_UNROLLED - count))

    @compiled
    def for_each(*arguments):
        function(*arguments, a)
        if count > 1:
            function(*arguments, b)
        if count > 2:
            function(*arguments, c)
        if count > 3:
            function(*arguments, d)
        if count > 4:
            function(*arguments, e)
        if count > 5:
            function(*arguments, f)
        if count > 6:
            function(*arguments, g)
        if count > 7:
            function(*arguments, h)

    return for_each


def whole(function: F) -> F:
    """Decorator, a mark and no more: a function that `Kernels` compiles as a whole, with int64 parameters only."""
    return function
