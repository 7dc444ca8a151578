"""Elementwise activations, by the names of `realizar.ops.ACTIVATIONS`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.floating[Any]]

_erf = np.frompyfunc(math.erf, 1, 1)


def sigmoid(x: Real) -> Real:
    """1 / (1 + exp(-x)), without overflow on either side."""
    small = np.exp(-np.abs(x))
    result: Real = np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)
    return result


def gelu(x: Real) -> Real:
    """x * Phi(x), exact. Source: Hendrycks & Gimpel 2016, arXiv:1606.08415."""
    result: Real = x * (0.5 * (1 + _erf(x / math.sqrt(2)).astype(x.dtype)))
    return result


def gelu_tanh(x: Real) -> Real:
    """The tanh approximation of gelu, same source, section 2."""
    result: Real = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return result


def mish(x: Real) -> Real:
    """x * tanh(softplus(x)). Source: Misra 2019, arXiv:1908.08681."""
    result: Real = x * np.tanh(np.logaddexp(0, x).astype(x.dtype))
    return result


def selu(x: Real) -> Real:
    """Scaled exponential linear unit. Source: Klambauer et al. 2017, arXiv:1706.02515."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return (scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))).astype(x.dtype)


ACTIVATION_FUNCTIONS: dict[str, Callable[[Real], Real]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "sigmoid": sigmoid,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda x: x * sigmoid(x),
    "mish": mish,
    "selu": selu,
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
}
"""Name -> function of one array, keeping its dtype."""
