"""Vector types, register arrays, and how an LLVM operation becomes a function that Numba code can call.

Vectors are always 512 bits wide in the source; LLVM splits them for narrower machines. No operation carries
fast-math flags and nothing is fused unless it is written `fma`, so the bits never depend on how the optimizer
vectorizes or on the shape of a tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

I8, I16, I32, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
F16, F32 = ir.HalfType(), ir.FloatType()
ELEMENTS = {"i8": I8, "i16": I16, "i32": I32, "f16": F16, "f32": F32}


class Vector(types.Type):
    """A register of `count` elements; `element` is a key of ELEMENTS."""

    def __init__(self, element: str, count: int) -> None:
        self.element, self.count = element, count
        super().__init__(name=f"Vector({element}, {count})")

    @property
    def llvm(self) -> ir.VectorType:
        """Its LLVM type."""
        return ir.VectorType(ELEMENTS[self.element], self.count)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """A vector is a plain LLVM value."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.llvm)


i8x64, i8x16 = Vector("i8", 64), Vector("i8", 16)
i16x16, i16x32, i32x16 = Vector("i16", 16), Vector("i16", 32), Vector("i32", 16)
f16x16, f32x16 = Vector("f16", 16), Vector("f32", 16)


class Registers(types.Type):
    """An array of `count` vectors that lives in registers once LLVM has unrolled the loops over it.

    Its value is the address of a stack slot of the function that made it: pass it down, never return it.
    """

    def __init__(self, vector: Vector, count: int) -> None:
        self.vector, self.count = vector, count
        super().__init__(name=f"Registers({vector.name}, {count})")


@register_model(Registers)
class RegistersModel(models.PrimitiveModel):
    """Registers are a pointer to an array of vectors."""

    def __init__(self, manager: Any, registers: Registers) -> None:
        super().__init__(manager, registers, ir.PointerType(ir.ArrayType(registers.vector.llvm, registers.count)))


def operation(signature: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: make `emit(builder, *llvm_values)` an intrinsic whose Numba signature is `signature(*types)`.

    An `emit` that returns None makes a function without a result.
    """

    def wrap(emit: Callable[..., Any]) -> Any:
        def typed(*arguments: Any) -> Any:
            def codegen(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
                result = emit(builder, *values)
                return context.get_dummy_value() if result is None else result

            return signature(*arguments), codegen

        by_arity = (
            lambda typingctx: typed(),
            lambda typingctx, a: typed(a),
            lambda typingctx, a, b: typed(a, b),
            lambda typingctx, a, b, c: typed(a, b, c),
            lambda typingctx, a, b, c, d: typed(a, b, c, d),
        )
        function = by_arity[emit.__code__.co_argcount - 1]
        function.__name__ = function.__qualname__ = emit.__name__
        return intrinsic(function)

    return wrap


def registers(vector: Vector, count: int) -> Any:
    """A function that makes `count` zeroed registers."""
    kind, array = Registers(vector, count), ir.ArrayType(vector.llvm, count)

    @operation(lambda: kind())
    def make(builder):
        slot = cgutils.alloca_once(builder, array)
        builder.store(ir.Constant(array, None), slot)
        return slot

    return make


@operation(lambda array, index: array.vector(array, types.intp))
def get(builder, array, index):
    """array[index]"""
    return builder.load(builder.gep(array, [ir.Constant(I64, 0), index]))


@operation(lambda array, index, value: types.void(array, types.intp, value))
def put(builder, array, index, value):
    """array[index] = value"""
    builder.store(value, builder.gep(array, [ir.Constant(I64, 0), index]))


def constant(vector: ir.VectorType, value: float) -> ir.Constant:
    """The vector whose elements are all `value`."""
    return ir.Constant(vector, [value] * vector.count)


def splat(builder: Any, scalar: Any, count: int) -> Any:
    """The vector of `count` copies of an LLVM scalar."""
    undefined = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, constant(ir.VectorType(I32, count), 0))


def call(builder: Any, result: Any, name: str, values: list[Any]) -> Any:
    """Call the LLVM function `name`."""
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)
