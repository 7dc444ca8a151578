"""Float vectors: explicit IEEE operations, conversions and reductions in a fixed order."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from realizar_numba.simd.types import F32, I32, call, constant, f16x16, f32x16, i8x16, i16x16, i32x16, operation, splat


@operation(lambda a, b: a(a, b))
def add(builder, a, b):
    """a + b"""
    return builder.fadd(a, b)


@operation(lambda a, b: a(a, b))
def sub(builder, a, b):
    """a - b"""
    return builder.fsub(a, b)


@operation(lambda a, b: a(a, b))
def mul(builder, a, b):
    """a * b"""
    return builder.fmul(a, b)


@operation(lambda a, b: a(a, b))
def div(builder, a, b):
    """a / b"""
    return builder.fdiv(a, b)


@operation(lambda a, b, c: f32x16(f32x16, f32x16, f32x16))
def fma(builder, a, b, c):
    """a * b + c, rounded once."""
    return call(builder, a.type, "llvm.fma.v16f32", [a, b, c])


@operation(lambda a: f32x16(f32x16))
def absolute(builder, a):
    """|a|"""
    return call(builder, a.type, "llvm.fabs.v16f32", [a])


@operation(lambda a: f32x16(f32x16))
def round_even(builder, a):
    """Nearest integer, ties to even."""
    return call(builder, a.type, "llvm.rint.v16f32", [a])


@operation(lambda a, b: a(a, b))
def maximum(builder, a, b):
    """a where a > b, else b."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@operation(lambda a, b: a(a, b))
def minimum(builder, a, b):
    """a where a < b, else b."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


@operation(lambda a, b, c, d: c(a, b, c, d))
def where_greater(builder, a, b, c, d):
    """c where a > b, else d."""
    return builder.select(builder.fcmp_ordered(">", a, b), c, d)


@operation(lambda v, low, high: f32x16(f32x16, types.int64, types.int64))
def keep_lanes(builder, v, low, high):
    """Lanes low <= i < high of v; minus infinity in the others."""
    index = ir.Constant(i32x16.llvm, list(range(16)))
    above = builder.icmp_signed(">=", index, splat(builder, builder.trunc(low, I32), 16))
    below = builder.icmp_signed("<", index, splat(builder, builder.trunc(high, I32), 16))
    return builder.select(builder.and_(above, below), v, constant(f32x16.llvm, float("-inf")))


@operation(lambda x: f32x16(types.float32))
def splat_f32(builder, x):
    """x in all lanes."""
    return splat(builder, x, 16)


def constant_f32(value: float) -> Any:
    """A function without arguments: `value` in all lanes."""

    @operation(lambda: f32x16())
    def make(builder):
        return constant(f32x16.llvm, value)

    return make


zero_f32, one_f32 = constant_f32(0.0), constant_f32(1.0)


@operation(lambda v: f32x16(i32x16))
def to_f32(builder, v):
    """int32 as float32."""
    return builder.sitofp(v, f32x16.llvm)


@operation(lambda v: i32x16(f32x16))
def to_i32(builder, v):
    """float32 as int32, towards zero."""
    return builder.fptosi(v, i32x16.llvm)


@operation(lambda v: f32x16(f16x16))
def from_f16(builder, v):
    """float16 as float32."""
    return builder.fpext(v, f32x16.llvm)


@operation(lambda v: f16x16(f32x16))
def to_f16(builder, v):
    """float32 rounded to float16."""
    return builder.fptrunc(v, f16x16.llvm)


@operation(lambda v: f32x16(i16x16))
def from_bf16(builder, v):
    """bfloat16 (as its bits) as float32."""
    return builder.bitcast(builder.shl(builder.zext(v, i32x16.llvm), constant(i32x16.llvm, 16)), f32x16.llvm)


@operation(lambda v: i16x16(f32x16))
def to_bf16(builder, v):
    """The bits of float32 rounded to bfloat16, ties to even; NaN stays NaN."""
    bits = builder.bitcast(v, i32x16.llvm)
    high = builder.lshr(bits, constant(bits.type, 16))
    tie = builder.and_(high, constant(bits.type, 1))
    rounded = builder.lshr(builder.add(bits, builder.add(tie, constant(bits.type, 0x7FFF))), constant(bits.type, 16))
    quiet = builder.or_(high, constant(bits.type, 0x40))
    return builder.trunc(builder.select(builder.fcmp_unordered("uno", v, v), quiet, rounded), i16x16.llvm)


@operation(lambda v: f32x16(i32x16))
def bits_to_f32(builder, v):
    """The floats whose bits are v."""
    return builder.bitcast(v, f32x16.llvm)


@operation(lambda a: a(a))
def negate(builder, a):
    """-a"""
    return builder.fneg(a)


@operation(lambda v: f32x16(i32x16))
def half_e8m0(builder, v):
    """2 ** (v - 128) for bytes v, subnormal numbers included."""
    small = builder.shl(constant(v.type, 0x00200000), v)
    normal = builder.shl(builder.sub(v, constant(v.type, 1)), constant(v.type, 23))
    bits = builder.select(builder.icmp_signed("<", v, constant(v.type, 2)), small, normal)
    return builder.bitcast(bits, f32x16.llvm)


@operation(lambda v: f32x16(i8x16))
def half_e4m3(builder, v):
    """Half of unsigned E4M3 codes, bytes below 128, without a NaN: as float16 they are 2^-8 of what they stand for."""
    words = builder.shl(builder.zext(v, i16x16.llvm), constant(i16x16.llvm, 7))
    small = builder.fpext(builder.bitcast(words, f16x16.llvm), f32x16.llvm)
    return builder.fmul(small, constant(f32x16.llvm, 128.0))


def _tree(builder: Any, v: Any, combine: Any) -> Any:
    """Halve v until one lane is left: the order never depends on the optimizer."""
    count = 16
    while count > 1:
        half = count // 2
        index = ir.VectorType(I32, half)
        low = builder.shuffle_vector(v, v, ir.Constant(index, list(range(half))))
        high = builder.shuffle_vector(v, v, ir.Constant(index, list(range(half, count))))
        v, count = combine(low, high), half
    return builder.extract_element(v, ir.Constant(I32, 0))


@operation(lambda v: types.float32(f32x16))
def sum_f32(builder, v):
    """The sum of the lanes, as a fixed tree."""
    return _tree(builder, v, builder.fadd)


@operation(lambda v: types.float32(f32x16))
def max_f32(builder, v):
    """The largest lane."""
    return _tree(builder, v, lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


@operation(lambda v: types.float32(f32x16))
def max_absolute(builder, v):
    """The largest |lane|: bits of non-negative floats order as integers."""
    magnitude = builder.and_(builder.bitcast(v, i32x16.llvm), constant(i32x16.llvm, 0x7FFFFFFF))
    return builder.bitcast(call(builder, I32, "llvm.vector.reduce.umax.v16i32", [magnitude]), F32)


@operation(lambda v: f32x16(i32x16))
def power_of_two(builder, v):
    """2 ** v for -126 <= v <= 127, by building the exponent."""
    biased = builder.add(v, constant(i32x16.llvm, 127))
    return builder.bitcast(builder.shl(biased, constant(i32x16.llvm, 23)), f32x16.llvm)


@operation(lambda x, count: f32x16(types.float32, types.intp))
def splat_first(builder, x, count):
    """x in the first `count` lanes, 0 in the others."""
    index = ir.Constant(i32x16.llvm, list(range(16)))
    inside = builder.icmp_signed("<", index, splat(builder, builder.trunc(count, I32), 16))
    return builder.select(inside, splat(builder, x, 16), constant(f32x16.llvm, 0.0))
