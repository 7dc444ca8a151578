"""Loads and stores by address.

Everything takes plain integer addresses, so one signature serves every tensor and a model is a table of
int64. Bounds are the caller's duty. Vector accesses need no alignment.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from realizar_numba.simd.types import (
    F16,
    F32,
    I8,
    I16,
    I32,
    I64,
    Vector,
    call,
    constant,
    f16x16,
    f32x16,
    i8x16,
    i8x64,
    i16x16,
    i32x16,
    operation,
    splat,
)


def _load_at(builder: Any, address: Any, kind: Any) -> Any:
    value = builder.load(builder.inttoptr(address, ir.PointerType(kind)))
    value.align = 1
    return value


def _load(result: Any, kind: Any) -> Any:
    @operation(lambda address: result(types.intp))
    def load(builder, address):
        return _load_at(builder, address, kind)

    return load


def _store(value_type: Any, kind: Any) -> Any:
    @operation(lambda address, value: types.void(types.intp, value_type))
    def store(builder, address, value):
        builder.store(value, builder.inttoptr(address, ir.PointerType(kind))).align = 1

    return store


def _load_vector(vector: Vector) -> Any:
    return _load(vector, vector.llvm)


load_i8x64, load_i8x16, load_i32x16 = _load_vector(i8x64), _load_vector(i8x16), _load_vector(i32x16)
load_f32x16, load_f16x16, load_i16x16 = _load_vector(f32x16), _load_vector(f16x16), _load_vector(i16x16)
load_u8, load_i8, load_i16 = _load(types.uint8, I8), _load(types.int8, I8), _load(types.int16, I16)
load_i32, load_i64 = _load(types.int32, I32), _load(types.int64, I64)
load_f32, load_f64 = _load(types.float32, F32), _load(types.float64, ir.DoubleType())
store_u8, store_i16 = _store(types.uint8, I8), _store(types.int16, I16)
store_i32, store_i64, store_f32 = _store(types.int32, I32), _store(types.int64, I64), _store(types.float32, F32)


@operation(lambda address, value: types.void(types.intp, value))
def store(builder, address, value):
    """Write a vector."""
    builder.store(value, builder.inttoptr(address, ir.PointerType(value.type))).align = 1


@operation(lambda address, value, stride: types.void(types.intp, value, types.intp))
def store_apart(builder, address, value, stride):
    """Write the elements of a vector `stride` bytes apart."""
    pointer = ir.PointerType(value.type.element)
    for i in range(value.type.count):
        builder.store(builder.extract_element(value, ir.Constant(I32, i)), builder.inttoptr(address, pointer)).align = 1
        address = builder.add(address, stride)


def _first_lanes(builder: Any, count: Any) -> Any:
    lanes = ir.Constant(i32x16.llvm, list(range(16)))
    return builder.icmp_signed("<", lanes, splat(builder, builder.trunc(count, I32), 16))


@operation(lambda address, count: f32x16(types.intp, types.intp))
def load_first_f32(builder, address, count):
    """The first `count` floats, then zeros; reads nothing beyond them."""
    pointer = builder.inttoptr(address, ir.PointerType(f32x16.llvm))
    mask = _first_lanes(builder, count)
    zeros = constant(f32x16.llvm, 0.0)
    return call(builder, f32x16.llvm, "llvm.masked.load.v16f32.p0", _masked(pointer, mask, [zeros]))


@operation(lambda address, value, count: types.void(types.intp, f32x16, types.intp))
def store_first_f32(builder, address, value, count):
    """Write only the first `count` floats."""
    pointer = builder.inttoptr(address, ir.PointerType(f32x16.llvm))
    arguments = [value, *_masked(pointer, _first_lanes(builder, count), [])]
    call(builder, ir.VoidType(), "llvm.masked.store.v16f32.p0", arguments)


def _masked(pointer: Any, mask: Any, rest: list[Any]) -> list[Any]:
    """Arguments of a masked access at byte alignment."""
    return [pointer, ir.Constant(I32, 1), mask, *rest]


@operation(lambda address: i8x64(types.intp))
def broadcast_4xi8(builder, address):
    """4 bytes, repeated 16 times (an embedded broadcast of the dot product that uses it)."""
    return builder.bitcast(splat(builder, _load_at(builder, address, I32), 16), i8x64.llvm)


@operation(lambda address: i32x16(types.intp))
def broadcast_i32(builder, address):
    """One int32 from memory in all lanes."""
    return splat(builder, _load_at(builder, address, I32), 16)


@operation(lambda address: f32x16(types.intp))
def broadcast_f32(builder, address):
    """One float32 from memory in all lanes."""
    return splat(builder, _load_at(builder, address, F32), 16)


@operation(lambda address: types.void(types.intp))
def prefetch(builder, address):
    """Bring a cache line into L2 for reading; any address is allowed."""
    pointer = builder.inttoptr(address, ir.PointerType(I8))
    read, into_l2, data = ir.Constant(I32, 0), ir.Constant(I32, 2), ir.Constant(I32, 1)
    call(builder, ir.VoidType(), "llvm.prefetch.p0", [pointer, read, into_l2, data])


@operation(lambda address: types.float32(types.intp))
def load_f16(builder, address):
    """One float16 as float32."""
    return builder.fpext(_load_at(builder, address, F16), F32)


@operation(lambda address: types.float32(types.intp))
def load_bf16(builder, address):
    """One bfloat16 as float32."""
    word = builder.zext(_load_at(builder, address, I16), I32)
    return builder.bitcast(builder.shl(word, ir.Constant(I32, 16)), F32)


@operation(lambda address, value: types.void(types.intp, types.float32))
def store_f16(builder, address, value):
    """One float32, rounded to float16."""
    builder.store(builder.fptrunc(value, F16), builder.inttoptr(address, ir.PointerType(F16))).align = 1
