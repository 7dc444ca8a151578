"""Tensors of another element type, computed when they are read: rows in chunks, on several threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import attrs
import numpy as np

from realizar.dtypes import DTYPES, DType
from realizar.errors import FormatError
from realizar.quant import dequantize, quantize
from realizar.quant.layouts import Float32Array
from realizar.tensors import Array, LazyTensor

CHUNK_ELEMENTS = 1 << 20
"""Elements of float32 that each thread holds at a time, or one row if that is longer."""


def retyped(
    tensor: LazyTensor, name: str, importance: Float32Array | None = None, threads: int | None = None
) -> LazyTensor:
    """`tensor` as type `name`; its own bytes if it is of that type already.

    importance: of each place of a row, [columns], or [experts, columns] for stacked matrices.
    Reading raises FormatError for numbers that the type cannot hold.
    """
    if tensor.dtype.name == name:
        return tensor
    dtype = DTYPES[name]
    dtype.row_nbytes(tensor.shape[-1] if tensor.shape else 1)
    work = _Retyping(tensor, dtype, importance, threads or os.cpu_count() or 1)
    return attrs.evolve(tensor, dtype=dtype, read=work.read)


@attrs.frozen
class _Retyping:
    tensor: LazyTensor
    dtype: DType
    importance: Float32Array | None
    threads: int

    def read(self) -> Array:
        """All elements in the new type; beside them and the old ones only the chunks in work are in memory."""
        shape = self.tensor.shape
        columns, matrices = (shape[-1] if shape else 1), (shape[0] if len(shape) > 2 else 1)
        stored = self.tensor.read()
        grouped = stored.reshape(matrices, -1, stored.shape[-1] if stored.ndim else 1)
        innermost = self.dtype.row_nbytes(columns) if self.dtype.is_quantized else columns
        out: Array = np.empty((*grouped.shape[:2], innermost), np.dtype(self.dtype.storage))
        step = max(1, CHUNK_ELEMENTS // max(1, columns))
        parts = [(i, slice(at, at + step)) for i in range(matrices) for at in range(0, grouped.shape[1], step)]

        def work(part: tuple[int, slice]) -> None:
            out[part] = self._chunk(grouped[part], part[0])

        with ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(work, parts):
                pass
        finished = out.reshape((*shape[:-1], innermost) if shape else ())
        finished.flags.writeable = False
        return finished

    def _chunk(self, stored: Array, matrix: int) -> Array:
        importance = self.importance
        if importance is not None and importance.ndim == 2:
            importance = importance[matrix]
        try:
            values = dequantize(stored, self.tensor.dtype)
            made = quantize(values, self.dtype, importance)
        except FormatError as error:
            raise FormatError(f"{self.tensor.source}: {error}") from error
        self._prove_range(values, made)
        return made

    def _prove_range(self, values: Float32Array, made: Array) -> None:
        """Numbers beyond the range of F16 and the like would silently become infinite."""
        if not self.dtype.is_quantized and self.dtype.name != "F32":
            lost = np.isfinite(values) & ~np.isfinite(dequantize(made, self.dtype))
            if lost.any():
                raise FormatError(
                    f"{self.tensor.source}: found {values[lost].flat[0]}, which {self.dtype.name} cannot hold; use BF16"
                )
