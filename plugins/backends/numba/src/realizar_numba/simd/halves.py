"""Conversions between float16 and float32 for x86-64 CPUs without F16C: LLVM then calls two library functions.

Their names and meaning are those of compiler-rt and libgcc (`__extendhfsf2`, `__truncsfhf2`), which a process may or
may not contain. They are written here as LLVM IR, compiled once, and known to every linker of the process.
Rounding is to nearest, ties to even, as the instructions do. Layout: IEEE 754-2019, table 3.5, binary16.
"""

from __future__ import annotations

import functools
import platform

import llvmlite.binding as llvm

_IR = """
target triple = "{triple}"

; Numbers: the exponent's bias grows by 112. Subnormal ones are their fraction times 2^-24. Infinities, NaNs: 112 again.
define float @__extendhfsf2(half %h) {{
  %narrow = bitcast half %h to i16
  %bits = zext i16 %narrow to i32
  %sign.low = and i32 %bits, 32768
  %sign = shl i32 %sign.low, 16
  %rest = and i32 %bits, 32767
  %moved = shl i32 %rest, 13
  %normal = add i32 %moved, 939524096
  %higher = add i32 %normal, 939524096
  %special = icmp uge i32 %rest, 31744
  %large = select i1 %special, i32 %higher, i32 %normal
  %fraction = uitofp i32 %rest to float
  %tiny = fmul float %fraction, 0x3E70000000000000
  %tiny.bits = bitcast float %tiny to i32
  %is.tiny = icmp ult i32 %rest, 1024
  %magnitude = select i1 %is.tiny, i32 %tiny.bits, i32 %large
  %result = or i32 %magnitude, %sign
  %float = bitcast i32 %result to float
  ret float %float
}}

; Numbers: half a unit less one, plus the last bit kept, is added before 13 bits are cut. Those below 2^-14: added to
; 1/2, whose last bit is 2^-24, they are rounded by the addition. From 2^16 on: infinity; NaNs stay NaNs, made quiet.
define half @__truncsfhf2(float %x) {{
  %bits = bitcast float %x to i32
  %sign.high = lshr i32 %bits, 16
  %sign = and i32 %sign.high, 32768
  %rest = and i32 %bits, 2147483647
  %cut = lshr i32 %rest, 13
  %odd = and i32 %cut, 1
  %below = add i32 %rest, 4095
  %rounded = add i32 %below, %odd
  %shifted = lshr i32 %rounded, 13
  %normal = sub i32 %shifted, 114688
  %absolute = bitcast i32 %rest to float
  %sum = fadd float %absolute, 5.0e-01
  %sum.bits = bitcast float %sum to i32
  %tiny = sub i32 %sum.bits, 1056964608
  %is.tiny = icmp ult i32 %rest, 947912704
  %finite = select i1 %is.tiny, i32 %tiny, i32 %normal
  %is.large = icmp uge i32 %rest, 1199570944
  %or.infinite = select i1 %is.large, i32 31744, i32 %finite
  %is.nan = icmp ugt i32 %rest, 2139095040
  %payload.13 = and i32 %cut, 1023
  %quiet = or i32 %payload.13, 32256
  %magnitude = select i1 %is.nan, i32 %quiet, i32 %or.infinite
  %result = or i32 %magnitude, %sign
  %narrow = trunc i32 %result to i16
  %half = bitcast i16 %narrow to half
  ret half %half
}}
"""

NAMES = ("__extendhfsf2", "__truncsfhf2")


@functools.cache
def define_half_conversions() -> llvm.ExecutionEngine | None:
    """Make both functions known to this process's linkers; the engine owns their code. None: not an x86-64 process."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    triple = llvm.get_process_triple()
    machine = llvm.Target.from_triple(triple).create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_IR.format(triple=triple)), machine)
    engine.finalize_object()
    for name in NAMES:
        llvm.add_symbol(name, engine.get_function_address(name))
    return engine
