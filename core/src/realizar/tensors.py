"""Tensors that are described before they are read."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.dtypes import DType
from realizar.quant import dequantize

Array = NDArray[np.generic]


@attrs.frozen
class LazyTensor:
    """A tensor of a model file; nothing is read until `read()`.

    name: the canonical (Hugging Face) name; source: where it lies, for errors ("model.gguf: blk.0.attn_q.weight").
    shape: outermost dimension first (a linear weight is [out, in]).
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    source: str
    _read: Callable[[], Array] = attrs.field(repr=False)
    _release: Callable[[], None] = attrs.field(default=lambda: None, repr=False)

    @property
    def nbytes(self) -> int:
        """Size of the stored bytes."""
        return math.prod(self.shape[:-1]) * self.row_nbytes

    @property
    def row_nbytes(self) -> int:
        """Stored bytes of one innermost row."""
        return self.dtype.row_nbytes(self.shape[-1] if self.shape else 1)

    def read(self) -> Array:
        """The stored bytes: plain types as `dtype.storage` of `shape`, blocks as uint8 [*shape[:-1], row_nbytes].

        A view of the mapped file where possible; read-only. Little-endian whatever the file was.
        """
        return self._read()

    def release(self) -> None:
        """Give memory that only holds what `read()` found in the file back to the system; a later read finds it again.

        Arrays that were read stay valid.
        """
        self._release()

    def to_float32(self) -> NDArray[np.float32]:
        """All elements as float32 of `shape`."""
        return dequantize(self.read(), self.dtype).reshape(self.shape)
