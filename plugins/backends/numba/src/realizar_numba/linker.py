"""Object code made callable, without Numba's typing machinery.

A process that finds all its kernels in the cache never sets that up, which would take longer than all else about them.
"""

from __future__ import annotations

import attrs
import llvmlite.binding as llvm
from numba.core.ccallback import CFunc
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from realizar_numba.simd.halves import define_half_conversions

_engines: list[llvm.ExecutionEngine] = []
"""They own the linked code, which lives as long as the process."""


@attrs.frozen
class ObjectCode:
    """A compiled function: the name of its symbol, and the object file that defines it."""

    symbol: str
    data: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, function: CFunc) -> ObjectCode:
        """What Numba made of a compiled C function."""
        return cls(function.native_name, function._library._get_compiled_object())


def machine() -> tuple[str, ...]:
    """What code is compiled for: triple, CPU name, features."""
    described: tuple[str, ...] = cpu_target.target_context.codegen().magic_tuple()
    return described


def provide_library_functions() -> None:
    """Define what LLVM may call where the CPU that is compiled for lacks an instruction."""
    if "+f16c" not in machine()[2].split(","):
        define_half_conversions()


def link(code: ObjectCode) -> int:
    """The address of the function, once its code is in memory.

    Each has an engine of its own: Numba numbers functions by process, so code from two processes may well define the
    same symbol, and an engine takes it for one function.
    """
    rtsys.initialize(cpu_target.target_context)  # defines what code that may raise refers to
    provide_library_functions()
    triple = llvm.get_process_triple()
    target = llvm.Target.from_triple(triple).create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(f'target triple = "{triple}"'), target)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code.data))
    _engines.append(engine)
    return int(engine.get_function_address(code.symbol))
