"""The dot product of bytes, once per instruction set.

`dot(a, u, s)` adds to each int32 lane of `a` the four products of unsigned bytes `u` and signed bytes `s`
in that lane. All integers are exact, so every path gives the same bits. `s` must not hold -128.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from realizar_numba.simd.types import I16, call, constant, i8x64, i32x16, operation

_i16x32 = ir.VectorType(I16, 32)


@operation(lambda a, u, s: i32x16(i32x16, i8x64, i8x64))
def dot_avx512vnni(builder, a, u, s):
    """One vpdpbusd. From LLVM 21 on its operands are <64 x i8>."""
    return call(builder, i32x16.llvm, "llvm.x86.avx512.vpdpbusd.512", [a, u, s])


@operation(lambda a, u, s: i32x16(i32x16, i8x64, i8x64))
def dot_generic(builder, a, u, s):
    """16-bit products (255 * 127 fits) of even and of odd bytes, widened and added: lane-wise IR for any machine."""
    u16, s16 = builder.bitcast(u, _i16x32), builder.bitcast(s, _i16x32)
    eight, sixteen = constant(_i16x32, 8), constant(i32x16.llvm, 16)
    even = builder.mul(builder.and_(u16, constant(_i16x32, 255)), builder.ashr(builder.shl(s16, eight), eight))
    odd = builder.mul(builder.lshr(u16, eight), builder.ashr(s16, eight))
    for product in (even, odd):
        pair = builder.bitcast(product, i32x16.llvm)
        a = builder.add(a, builder.ashr(builder.shl(pair, sixteen), sixteen))
        a = builder.add(a, builder.ashr(pair, sixteen))
    return a


DOTS: dict[str, Any] = {"avx512vnni": dot_avx512vnni, "generic": dot_generic}
"""The dot product of each instruction-set path, by the names of `isa.PATHS`."""
