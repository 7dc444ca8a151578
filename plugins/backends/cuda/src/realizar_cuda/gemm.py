"""out = x @ weight.T for many tokens, on tensor cores through cuBLAS, as CuPy brings it.

Quantized weights become bfloat16 in slices of rows; activations too: that rounds them less than 8 bits do. F16 meets
halves of rows brought below 1 by powers of two, so that no activation is too large; F32 stays F32.
"""

from __future__ import annotations

import numpy as np

from realizar_cuda.device import Device
from realizar_cuda.weights import Weight

SLICE_NBYTES = 128 << 20
"""Dequantized weights that are in memory at a time."""

CUDA_R_32F, CUDA_R_16F, CUDA_R_16BF = 0, 2, 14
COMPUTE_32F = 68
TRANSPOSED, PLAIN, DEFAULT_ALGORITHM = 1, 0, -1


class Gemm:
    """Matrix products on one device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._one, self._zero = np.ones(1, np.float32), np.zeros(1, np.float32)

    def run(self, x: int, num_tokens: int, weight: Weight, bias: int, out: int) -> None:
        """x [num_tokens, width], out [num_tokens, rows] float32; all but weight are addresses, bias 0 for none."""
        kind, exponents = self._activations(x, num_tokens, weight)
        step = max(1, SLICE_NBYTES // (2 * weight.padded)) if weight.is_quantized else weight.rows
        for first in range(0, weight.rows, step):
            rows = min(step, weight.rows - first)
            matrix = self._matrix(weight, first, rows)
            self._multiply(
                matrix, self._converted, kind, (rows, num_tokens, weight.padded), out + 4 * first, weight.rows
            )
        if bias or exponents:
            self._device.launch("finish_rows", (num_tokens,), 256, (out, exponents, bias, weight.rows))

    def _activations(self, x: int, num_tokens: int, weight: Weight) -> tuple[int, int]:
        """Convert x into what the weight's type meets; returns its cuBLAS type, and the exponents taken off or 0."""
        sizes = (weight.width, weight.padded)
        launch = self._device.launch
        self._converted = self._device.scratch("gemm activations", 4 * num_tokens * weight.padded)
        if weight.kind == "F32":
            launch("pad_rows", (num_tokens,), 256, (x, self._converted, *sizes))
            return CUDA_R_32F, 0
        if weight.kind == "F16":
            exponents = self._device.scratch("gemm exponents", 4 * num_tokens)
            launch("half_rows", (num_tokens,), 256, (x, self._converted, exponents, *sizes))
            return CUDA_R_16F, exponents
        launch("bfloat_rows", (num_tokens,), 256, (x, self._converted, *sizes))
        return CUDA_R_16BF, 0

    def _matrix(self, weight: Weight, first: int, rows: int) -> int:
        """Address of some rows as a plain matrix."""
        if not weight.is_quantized:
            return weight.pointers(first)[0]
        matrix = self._device.scratch("gemm weights", 2 * rows * weight.padded)
        chunks = rows * weight.chunks
        name = f"dequantize<{weight.kind}>"
        self._device.launch(name, (-(-chunks // 64),), 256, (*weight.pointers(first), matrix, chunks))
        return matrix

    def _multiply(self, matrix: int, x: int, kind: int, sizes: tuple[int, int, int], out: int, stride: int) -> None:
        """out [tokens, rows] = x @ matrix.T; cuBLAS counts columns first, so its first operand is our second."""
        rows, num_tokens, width = sizes
        from cupy_backends.cuda.libs import cublas

        handle = self._device.cupy.cuda.device.get_cublas_handle()
        with self._device.stream:  # CuPy tells cuBLAS of the current stream at each call
            cublas.gemmEx(
                handle, TRANSPOSED, PLAIN, rows, num_tokens, width, self._one.ctypes.data, matrix, kind, width, x,
                kind, width, self._zero.ctypes.data, out, CUDA_R_32F, stride, COMPUTE_32F, DEFAULT_ALGORITHM,
            )  # fmt: skip
