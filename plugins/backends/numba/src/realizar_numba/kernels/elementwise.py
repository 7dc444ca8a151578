"""Elementwise ops: activations, gated activations, sums, soft caps, factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from realizar_numba.memory import Matrix
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record
from realizar_numba.simd.floating import (
    add,
    div,
    maximum,
    minimum,
    mul,
    one_f32,
    splat_f32,
    sub,
    where_greater,
    zero_f32,
)
from realizar_numba.simd.functions import erfc, exp, expm1, tanh
from realizar_numba.simd.jit import compiled, whole
from realizar_numba.simd.memory import load_first_f32, load_i64, store_first_f32

ELEMENTWISE = record("num_rows", "x", "x_stride", "y", "y_stride", "width", "out", "out_stride", floats=("constant",))

_read = reader(ELEMENTWISE)

_MINUS_SQRT_HALF = np.float32(-0.7071067811865476)
_SQRT_2_OVER_PI, _GELU_CUBIC = np.float32(0.7978845608028654), np.float32(0.044715)
_SELU_SCALE, _SELU_ALPHA = np.float32(1.0507009873554805), np.float32(1.6732632423543772)
_MISH_IDENTITY_FROM = np.float32(20)


@compiled
def _negative(x):
    return sub(zero_f32(), x)


@compiled
def relu(x):
    """max(x, 0)"""
    return maximum(x, zero_f32())


@compiled
def relu2(x):
    """max(x, 0)^2"""
    return mul(relu(x), relu(x))


@compiled
def sigmoid(x):
    """1 / (1 + exp(-x))"""
    return div(one_f32(), add(one_f32(), exp(_negative(x))))


@compiled
def silu(x):
    """x sigmoid(x)"""
    return div(x, add(one_f32(), exp(_negative(x))))


@compiled
def gelu(x):
    """x times the normal distribution function: x erfc(-x / sqrt 2) / 2"""
    half = splat_f32(np.float32(0.5))
    return mul(mul(half, x), erfc(mul(x, splat_f32(_MINUS_SQRT_HALF))))


@compiled
def gelu_tanh(x):
    """x (1 + tanh u) / 2 = x / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3)"""
    cubic = mul(mul(mul(x, x), x), splat_f32(_GELU_CUBIC))
    u = mul(splat_f32(_SQRT_2_OVER_PI), add(x, cubic))
    return div(x, add(one_f32(), exp(_negative(add(u, u)))))


@compiled
def mish(x):
    """x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2)"""
    two, limit = splat_f32(np.float32(2)), splat_f32(_MISH_IDENTITY_FROM)
    e = exp(minimum(x, limit))
    n = mul(e, add(e, two))
    return where_greater(x, limit, x, mul(x, div(n, add(n, two))))


@compiled
def selu(x):
    """scale * x above 0, scale * alpha * (e^x - 1) below"""
    below = mul(splat_f32(_SELU_ALPHA), expm1(minimum(x, zero_f32())))
    return mul(splat_f32(_SELU_SCALE), where_greater(x, zero_f32(), x, below))


@compiled
def hardswish(x):
    """x clip(x + 3, 0, 6) / 6"""
    six = splat_f32(np.float32(6))
    clipped = minimum(maximum(add(x, splat_f32(np.float32(3))), zero_f32()), six)
    return div(mul(x, clipped), six)


ACTIVATION_FUNCTIONS: dict[str, Any] = {
    "relu": relu, "relu2": relu2, "sigmoid": sigmoid, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu,
    "mish": mish, "selu": selu, "hardswish": hardswish,
}  # fmt: skip
"""By the names of `realizar.ops.ACTIVATIONS`."""


def _combine(op: str, kind: str) -> Any:
    """The function (x, y, constant) -> out of an op, on vectors."""
    activation = ACTIVATION_FUNCTIONS[kind or "relu"]

    @compiled
    def act(x, y, constant):
        return activation(x)

    @compiled
    def act_mul(x, y, constant):
        return mul(activation(x), y)

    @compiled
    def add_(x, y, constant):
        return add(x, y)

    @compiled
    def softcap(x, y, constant):
        return mul(constant, tanh(div(x, constant)))

    @compiled
    def scale(x, y, constant):
        return mul(x, constant)

    @compiled
    def copy(x, y, constant):
        return x

    return {"act": act, "act_mul": act_mul, "add": add_, "softcap": softcap, "scale": scale, "copy": copy}[op]


def build_elementwise(op: str, kind: str) -> Callable[..., Any]:
    """The phase of ELEMENTWISE for op act, act_mul, add, softcap, scale or copy; kind: the activation, or ""."""
    combine = _combine(op, kind)

    @whole
    def elementwise(thread, num_threads, arguments):
        a = _read(arguments)
        constant, vectors = splat_f32(a.constant), (a.width + 15) // 16
        for t in range(load_i64(a.num_rows)):
            for i in range(vectors * thread // num_threads, vectors * (thread + 1) // num_threads):
                at, count = 64 * i, a.width - 16 * i
                x = load_first_f32(a.x + t * a.x_stride + at, count)
                y = load_first_f32(a.y + t * a.y_stride + at, count)
                store_first_f32(a.out + t * a.out_stride + at, combine(x, y, constant), count)

    return elementwise


def append_elementwise(
    program: Program, op: str, x: Matrix, y: Matrix | None, out: Matrix, *, kind: str = "", constant: float = 0.0
) -> None:
    """Append act, act_mul, add, copy, softcap or scale (whose cap or factor is `constant`)."""
    y = y or x
    arguments = fill(
        ELEMENTWISE,
        num_rows=x.num_rows,
        x=x.address,
        x_stride=x.stride,
        y=y.address,
        y_stride=y.stride,
        width=x.width,
        out=out.address,
        out_stride=out.stride,
        constant=constant,
    )
    label = f"{op} ({kind})" if kind else op
    program.append(program.kernels.address(label, build_elementwise, op, kind), arguments)
