"""Integer vectors: nibbles and bits out of bytes, widening, and the arithmetic around dot products."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from realizar_numba.simd.types import I32, I64, call, constant, i8x16, i8x64, i16x16, i32x16, operation, splat


@operation(lambda v: i8x64(i8x64))
def low_nibbles(builder, v):
    """v & 15"""
    return builder.and_(v, constant(v.type, 15))


@operation(lambda v: i8x64(i8x64))
def high_nibbles(builder, v):
    """v >> 4"""
    return _shifted_right(builder, v, ir.Constant(I64, 4), 15)


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


def _shifted_right(builder: Any, v: Any, count: Any, mask: int) -> Any:
    """Bytes >> count, masked; the mask must keep only bits of the same byte."""
    words = builder.lshr(builder.bitcast(v, i32x16.llvm), splat(builder, builder.trunc(count, I32), 16))
    return builder.and_(builder.bitcast(words, i8x64.llvm), constant(i8x64.llvm, mask))


def _times_16(builder: Any, v: Any) -> Any:
    """Bytes below 16, times 16."""
    return builder.bitcast(builder.shl(builder.bitcast(v, i32x16.llvm), constant(i32x16.llvm, 4)), i8x64.llvm)


@operation(lambda v, shift: i8x64(i8x64, types.intp))
def nibbles_at(builder, v, shift):
    """(v >> shift) & 15, shift 0 or 4."""
    return _shifted_right(builder, v, shift, 15)


@operation(lambda v, bit: i8x64(i8x64, types.intp))
def bit_to_16(builder, v, bit):
    """16 where the bit of that number is set, else 0."""
    return _times_16(builder, _shifted_right(builder, v, bit, 1))


@operation(lambda v, shift: i8x64(i8x64, types.intp))
def pair_to_48(builder, v, shift):
    """Two bits at shift, times 16."""
    return _times_16(builder, _shifted_right(builder, v, shift, 3))


@operation(lambda v: i8x64(i8x64))
def flip_signs(builder, v):
    """v xor 0x80: signed bytes as unsigned bytes, 128 more."""
    return builder.xor(v, constant(i8x64.llvm, 0x80))
