"""What threads need: atomics, a clock, a pause, a sleep, and a call through an address."""

from __future__ import annotations

import platform
import sys
from typing import Any

from llvmlite import ir
from numba.core import types

from realizar_numba.simd.jit import compiled
from realizar_numba.simd.types import I32, I64, call, operation

_MACHINE = platform.machine().lower()
_FUTEX_CALL = {"x86_64": 202, "aarch64": 98}.get(_MACHINE) if sys.platform == "linux" else None
_FUTEX_WAIT_PRIVATE, _FUTEX_WAKE_PRIVATE = 128, 129


@operation(lambda address, value: types.int64(types.intp, types.int64))
def atomic_add(builder, address, value):
    """Add to the int64 at address; the value before."""
    return builder.atomic_rmw("add", builder.inttoptr(address, ir.PointerType(I64)), value, "seq_cst")


@operation(lambda address: types.int64(types.intp))
def atomic_load(builder, address):
    """The int64 at address, with acquire order."""
    return builder.load_atomic(builder.inttoptr(address, ir.PointerType(I64)), "acquire", 8)


@operation(lambda address, value: types.void(types.intp, types.int64))
def atomic_store(builder, address, value):
    """Write the int64 at address, with release order."""
    builder.store_atomic(value, builder.inttoptr(address, ir.PointerType(I64)), "release", 8)


@operation(lambda: types.void())
def pause(builder):
    """Tell the core that this is a spin loop."""
    if _MACHINE in ("x86_64", "amd64"):
        call(builder, ir.VoidType(), "llvm.x86.sse2.pause", [])
    elif _MACHINE in ("aarch64", "arm64"):
        call(builder, ir.VoidType(), "llvm.aarch64.hint", [ir.Constant(I32, 1)])


@operation(lambda: types.int64())
def cycles(builder):
    """A clock that ticks evenly, in the machine's own unit; 0 on machines where it might trap."""
    if _MACHINE in ("x86_64", "amd64", "aarch64", "arm64"):  # rdtsc, cntvct_el0
        return call(builder, I64, "llvm.readcyclecounter", [])
    return ir.Constant(I64, 0)


@operation(lambda function, arguments: types.void(types.int64, arguments))
def call_address(builder, function, arguments):
    """Call the C function at an address with a tuple of int64 arguments; it returns nothing."""
    values = [builder.extract_value(arguments, i) for i in range(len(arguments.type))]
    pointer = ir.PointerType(ir.FunctionType(ir.VoidType(), [I64] * len(values)))
    builder.call(builder.inttoptr(function, pointer), values)


if _FUTEX_CALL is not None:
    _NUMBER = _FUTEX_CALL
    _syscall: Any = types.ExternalFunction("syscall", types.int64(*[types.int64] * 7))

    @compiled
    def sleep_while(address, value):
        """Sleep until woken, unless the low 32 bits at address already differ from value's."""
        _syscall(_NUMBER, address, _FUTEX_WAIT_PRIVATE, value & 0xFFFFFFFF, 0, 0, 0)

    @compiled
    def wake_all(address):
        """Wake every thread that sleeps at address."""
        _syscall(_NUMBER, address, _FUTEX_WAKE_PRIVATE, 1 << 30, 0, 0, 0)

else:
    _yield_name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
    _yield: Any = types.ExternalFunction(_yield_name, types.int32())

    @compiled
    def sleep_while(address, value):
        """Let another thread run; the caller looks again."""
        _yield()

    @compiled
    def wake_all(address):
        """Nobody sleeps where there is no futex."""
