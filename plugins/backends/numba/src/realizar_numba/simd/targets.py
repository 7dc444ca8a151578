"""What differs between instruction sets: dot products of bytes, and tables of 16 bytes.

A `Target` multiplies unsigned codes by signed bytes and adds four neighbouring products into each int32 lane, in one
of two ways: straight into int32 (`vpdpbusd`, or portable code), or pairs into int16 (`vpmaddubsw`), widened before
they can overflow. All integers are exact, so every target gives the same bits. Signed bytes must not hold -128.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from llvmlite import ir

from realizar_numba.simd.types import I8, I16, I32, Vector, call, constant, i8x64, i16x32, i32x16, operation

_I8X32, _I16X16, _I32X8 = ir.VectorType(I8, 32), ir.VectorType(I16, 16), ir.VectorType(I32, 8)


@attrs.frozen
class Target:
    """One instruction set.

    dot(a, u, s): accumulator a plus the products of unsigned bytes u and signed bytes s.
    widen(a): the accumulator's sums as int32 (None: they are). signed_dot(a, w, s): the same for an int32
    accumulator and signed bytes w, where dot cannot take codes of 8 bits (None: it can).
    lookup(table): a function of bytes below 16 that gives table[byte]. wide_lanes: tokens of a wide tile.
    vectors: how many vectors of 512 bits its registers hold. hold(a): see `_hold_avx2`; None where nothing
    needs it.
    """

    accumulator: Vector
    dot: Any
    widen: Any
    signed_dot: Any
    lookup: Any
    wide_lanes: int
    vectors: int
    hold: Any = None

    def max_dots(self, max_code: int) -> int:
        """Dot products with codes up to max_code that an accumulator of 16 bits can take before it must be widened."""
        return 32767 // (2 * 127 * max_code)


# Halves of 256 bits, for AVX2


def _halves(builder: Any, v: Any) -> list[Any]:
    count = v.type.count // 2
    parts = (range(count), range(count, 2 * count))
    return [builder.shuffle_vector(v, v, ir.Constant(ir.VectorType(I32, count), list(part))) for part in parts]


def _joined(builder: Any, low: Any, high: Any) -> Any:
    count = 2 * low.type.count
    return builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, count), list(range(count))))


def _by_halves(builder: Any, result: Any, name: str, values: Sequence[Any]) -> Any:
    pairs = zip(*(_halves(builder, value) for value in values), strict=True)
    return _joined(builder, *(call(builder, result, name, list(pair)) for pair in pairs))


# vpdpbusd


@operation(lambda a, u, s: i32x16(i32x16, i8x64, i8x64))
def _dot_vnni(builder, a, u, s):
    """From LLVM 21 on its operands are <64 x i8>."""
    return call(builder, i32x16.llvm, "llvm.x86.avx512.vpdpbusd.512", [a, u, s])


@operation(lambda a, u, s: i32x16(i32x16, i8x64, i8x64))
def _dot_avxvnni(builder, a, u, s):
    """The same of 256 bits, encoded as AVX2 is where the CPU has no AVX-512."""
    return _by_halves(builder, _I32X8, "llvm.x86.avx512.vpdpbusd.256", [a, u, s])


# vpmaddubsw, vpmaddwd


@operation(lambda a, u, s: i16x32(i16x32, i8x64, i8x64))
def _dot_avx512(builder, a, u, s):
    return builder.add(a, call(builder, i16x32.llvm, "llvm.x86.avx512.pmaddubs.w.512", [u, s]))


@operation(lambda a, u, s: i16x32(i16x32, i8x64, i8x64))
def _dot_avx2(builder, a, u, s):
    return builder.add(a, _by_halves(builder, _I16X16, "llvm.x86.avx2.pmadd.ub.sw", [u, s]))


def _pairs_avx512(builder: Any, v: Any) -> Any:
    return call(builder, i32x16.llvm, "llvm.x86.avx512.pmaddw.d.512", [v, constant(i16x32.llvm, 1)])


def _pairs_avx2(builder: Any, v: Any) -> Any:
    return _by_halves(builder, _I32X8, "llvm.x86.avx2.pmadd.wd", [v, constant(i16x32.llvm, 1)])


@operation(lambda a: i32x16(i16x32))
def _widen_avx512(builder, a):
    return _pairs_avx512(builder, a)


@operation(lambda a: i32x16(i16x32))
def _widen_avx2(builder, a):
    return _pairs_avx2(builder, a)


def _magnitude(builder: Any, w: Any) -> Any:
    """|w| as unsigned bytes: |-128| is 128."""
    return call(builder, w.type, "llvm.abs.v64i8", [w, ir.Constant(ir.IntType(1), 0)])


@operation(lambda a, w, s: i32x16(i32x16, i8x64, i8x64))
def _signed_dot_avx512(builder, a, w, s):
    """|w| times s with the sign of w: 2 * 128 * 127 fits in 16 bits."""
    negative = builder.icmp_signed("<", w, constant(w.type, 0))
    signed = builder.select(negative, builder.sub(constant(s.type, 0), s), s)
    pairs = call(builder, i16x32.llvm, "llvm.x86.avx512.pmaddubs.w.512", [_magnitude(builder, w), signed])
    return builder.add(a, _pairs_avx512(builder, pairs))


@operation(lambda a, w, s: i32x16(i32x16, i8x64, i8x64))
def _signed_dot_avx2(builder, a, w, s):
    """As above; vpsignb gives s the sign of w."""
    signed = _by_halves(builder, _I8X32, "llvm.x86.avx2.psign.b", [s, w])
    pairs = _by_halves(builder, _I16X16, "llvm.x86.avx2.pmadd.ub.sw", [_magnitude(builder, w), signed])
    return builder.add(a, _pairs_avx2(builder, pairs))


@operation(lambda a: a(a))
def _hold_avx2(builder, a):
    """a, after which the compiler goes on: it moves no sums and no loads across. No instruction stands for it.

    Left alone, LLVM multiplies the unrolled chunks of a block token by token, which puts all weights on the stack.
    """
    half = ir.VectorType(a.type.element, a.type.count // 2)
    kind = ir.FunctionType(half, [half])
    return _joined(builder, *(builder.asm(kind, "", "=x,0", [part], True) for part in _halves(builder, a)))


# Portable


@operation(lambda a, u, s: i32x16(i32x16, i8x64, i8x64))
def _dot_generic(builder, a, u, s):
    """16-bit products (255 * 127 fits) of even and of odd bytes, widened and added: lane-wise IR for any machine."""
    u16, s16 = builder.bitcast(u, i16x32.llvm), builder.bitcast(s, i16x32.llvm)
    eight, sixteen = constant(i16x32.llvm, 8), constant(i32x16.llvm, 16)
    even = builder.mul(builder.and_(u16, constant(i16x32.llvm, 255)), builder.ashr(builder.shl(s16, eight), eight))
    odd = builder.mul(builder.lshr(u16, eight), builder.ashr(s16, eight))
    for product in (even, odd):
        pair = builder.bitcast(product, i32x16.llvm)
        a = builder.add(a, builder.ashr(builder.shl(pair, sixteen), sixteen))
        a = builder.add(a, builder.ashr(pair, sixteen))
    return a


# Tables


def _lookup(emit: Any) -> Any:
    """table -> a function of a vector of bytes below 16; `emit(builder, vector of table four times, indices)`."""

    def with_table(table: Sequence[int]) -> Any:
        @operation(lambda v: i8x64(i8x64))
        def lookup(builder, v):
            return emit(builder, ir.Constant(i8x64.llvm, list(table) * 4), v)

        return lookup

    return with_table


def _shuffle_avx512(builder: Any, table: Any, v: Any) -> Any:
    return call(builder, i8x64.llvm, "llvm.x86.avx512.pshuf.b.512", [table, v])


def _shuffle_avx2(builder: Any, table: Any, v: Any) -> Any:
    return _by_halves(builder, _I8X32, "llvm.x86.avx2.pshuf.b", [table, v])


def _select_generic(builder: Any, table: Any, v: Any) -> Any:
    """Sixteen comparisons."""
    result = constant(i8x64.llvm, 0)
    for index, entry in enumerate(table.constant[:16]):
        here = builder.icmp_unsigned("==", v, constant(v.type, index))
        result = builder.select(here, constant(v.type, entry), result)
    return result


TARGETS: dict[str, Target] = {
    "avx512vnni": Target(i32x16, _dot_vnni, None, None, _lookup(_shuffle_avx512), 8, 32),
    "avx512": Target(i16x32, _dot_avx512, _widen_avx512, _signed_dot_avx512, _lookup(_shuffle_avx512), 8, 32),
    "avxvnni": Target(i32x16, _dot_avxvnni, None, None, _lookup(_shuffle_avx2), 4, 8, _hold_avx2),
    "avx2": Target(i16x32, _dot_avx2, _widen_avx2, _signed_dot_avx2, _lookup(_shuffle_avx2), 4, 8, _hold_avx2),
    "generic": Target(i32x16, _dot_generic, None, None, _lookup(_select_generic), 8, 32),
}
"""By the names of `isa.PATHS`."""
