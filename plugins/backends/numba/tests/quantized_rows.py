"""What the tests know independently of the kernels: 8-bit activations in float64, and small quantized matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from realizar.dtypes import dtype
from realizar.quant import dequantize
from realizar.tensors import LazyTensor
from realizar.testing.models import memory_tensor, random_weights


def rounded_to_8_bits(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """x as a kernel on int8 sees it: per block of 32, multiples of max / 127 (in float32), nearest even."""
    blocks = x.reshape(len(x), -1, 32)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    inverse = np.where(largest > 0, np.float32(127) / np.where(largest > 0, largest, np.float32(1)), np.float32(0))
    integers = np.rint(blocks * inverse.astype(np.float32)).astype(np.float64)
    scales = (largest * np.float32(1 / 127)).astype(np.float32)
    return (integers * scales.astype(np.float64)).reshape(x.shape)


def random_matrix(kind: str, rows: int, columns: int, seed: int = 0) -> LazyTensor:
    """A random weight of any type."""
    stored = random_weights((rows, columns), dtype(kind), np.random.default_rng(seed))
    return memory_tensor("weight", stored, dtype(kind))


def exact(tensor: LazyTensor) -> NDArray[np.float64]:
    """A tensor's elements in float64."""
    values: Any = dequantize(tensor.read(), tensor.dtype).reshape(tensor.shape)
    return values.astype(np.float64)
