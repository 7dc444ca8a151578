"""Integer vectors: nibbles and bits out of bytes, widening, and the arithmetic around dot products."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from realizar_numba.simd.types import I8, I32, I64, call, constant, i8x16, i8x64, i16x16, i32x16, operation, splat


def shift_left(count: int) -> Any:
    """A function of int32 lanes: v << count."""

    @operation(lambda v: i32x16(i32x16))
    def shift(builder, v):
        return builder.shl(v, constant(i32x16.llvm, count))

    return shift


@operation(lambda a, b: a(a, b))
def bit_or(builder, a, b):
    """a | b"""
    return builder.or_(a, b)


@operation(lambda a, b: a(a, b))
def add_i32(builder, a, b):
    """a + b"""
    return builder.add(a, b)


@operation(lambda a, b: a(a, b))
def sub_i32(builder, a, b):
    """a - b"""
    return builder.sub(a, b)


@operation(lambda a, b: a(a, b))
def mul_i32(builder, a, b):
    """a * b"""
    return builder.mul(a, b)


@operation(lambda x: i32x16(types.int64))
def splat_i32(builder, x):
    """x in all lanes."""
    return splat(builder, builder.trunc(x, I32), 16)


@operation(lambda v: i32x16(i32x16))
def low_nibbles_i32(builder, v):
    """v & 15"""
    return builder.and_(v, constant(i32x16.llvm, 15))


@operation(lambda v: i32x16(i32x16))
def high_nibbles_i32(builder, v):
    """v >> 4, of bytes"""
    return builder.lshr(v, constant(i32x16.llvm, 4))


@operation(lambda v, index: i32x16(i32x16, types.intp))
def nibble_i32(builder, v, index):
    """v >> 4 index & 15"""
    count = builder.mul(builder.trunc(index, I32), ir.Constant(I32, 4))
    return builder.and_(builder.lshr(v, splat(builder, count, 16)), constant(i32x16.llvm, 15))


@operation(lambda v: i32x16(i8x16))
def widen_i8(builder, v):
    """Signed bytes as int32."""
    return builder.sext(v, i32x16.llvm)


@operation(lambda v: i32x16(i8x16))
def widen_u8(builder, v):
    """Unsigned bytes as int32."""
    return builder.zext(v, i32x16.llvm)


@operation(lambda v: i32x16(i16x16))
def widen_u16(builder, v):
    """Unsigned 16-bit numbers as int32."""
    return builder.zext(v, i32x16.llvm)


@operation(lambda v: i8x16(i32x16))
def narrow_i8(builder, v):
    """The low bytes."""
    return builder.trunc(v, i8x16.llvm)


@operation(lambda v: types.int32(i32x16))
def sum_i32(builder, v):
    """The sum of the lanes."""
    return call(builder, I32, "llvm.vector.reduce.add.v16i32", [v])


@operation(lambda v, source, target, mask: i8x64(i8x64, types.intp, types.intp, types.intp))
def move_bits(builder, v, source, target, mask):
    """Bits of each byte that `mask` keeps once bit `source` has moved to bit `target`; none may leave its byte."""
    words = builder.bitcast(v, i32x16.llvm)
    distance = builder.sub(target, source)
    up = builder.shl(words, splat(builder, builder.trunc(distance, I32), 16))
    down = builder.lshr(words, splat(builder, builder.trunc(builder.neg(distance), I32), 16))
    is_up = builder.icmp_signed(">=", distance, ir.Constant(I64, 0))
    moved = builder.bitcast(builder.select(is_up, up, down), i8x64.llvm)
    return builder.and_(moved, splat(builder, builder.trunc(mask, I8), 64))


@operation(lambda v: i8x64(i8x64))
def flip_signs(builder, v):
    """v xor 0x80: signed bytes as unsigned bytes, 128 more."""
    return builder.xor(v, constant(i8x64.llvm, 0x80))
