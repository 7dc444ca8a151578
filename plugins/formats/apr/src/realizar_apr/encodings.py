"""How the bytes of a tensor become an array: by code, shape and size together, for no code alone says it.

Blocks may end with each row (ggml), be padded row by row (aprender's own Q4_K), or run on over all elements (the
rest). Only the first is a type of core; tensors of the others are read as float32. AprQ4 of whole rows is Q4_0 with its
nibbles in another order, and becomes that without loss.
Source: aprender `src/format/v2/`, `contracts/tensor-layout-v1.yaml`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.dtypes import DTYPES, DType
from realizar.quant import dequantize
from realizar.tensors import Array
from realizar_apr.codes import APR_Q4, APR_Q8, CODES

Bytes = NDArray[np.uint8]
Shape = tuple[int, ...]


@attrs.frozen
class Encoding:
    """One way to store a tensor: in so many bytes, read as an array of `dtype`."""

    name: str
    nbytes: int
    dtype: DType
    decode: Callable[[Bytes], Array] = attrs.field(repr=False)


def encoding_of(code: int, shape: Shape, nbytes: int) -> Encoding | None:
    """The encoding that `code` and `nbytes` agree on; None if no meaning of the code has that size."""
    return next((encoding for encoding in encodings(code, shape) if encoding.nbytes == nbytes), None)


def encodings(code: int, shape: Shape) -> Iterator[Encoding]:
    """Every encoding that `code` may mean for a tensor of `shape`, the likeliest first."""
    for name in CODES[code]:
        if name == APR_Q4:
            yield _apr_q4(shape)
        elif name == APR_Q8:
            yield _apr_q8(shape)
        elif DTYPES[name].is_quantized:
            yield from _blocks(DTYPES[name], shape)
        else:
            yield _plain(DTYPES[name], shape)


def _plain(dtype: DType, shape: Shape) -> Encoding:
    def decode(stored: Bytes) -> Array:
        return stored.view(dtype.storage).reshape(shape)

    return Encoding(dtype.name, math.prod(shape) * dtype.block_nbytes, dtype, decode)


def _blocks(dtype: DType, shape: Shape) -> Iterator[Encoding]:
    """Whole rows, else rows padded to whole blocks, else one run of elements padded at its end."""
    if _rows_are_whole(dtype, shape):
        yield _whole_rows(dtype, shape, lambda stored: stored)
        return
    columns, rows = shape[-1] if shape else 1, math.prod(shape[:-1])
    row_nbytes = -(-columns // dtype.block_size) * dtype.block_nbytes

    def decode_padded(stored: Bytes) -> Array:
        return dequantize(stored.reshape(rows, row_nbytes), dtype)[:, :columns].reshape(shape)

    yield Encoding(f"{dtype.name}, rows padded", rows * row_nbytes, DTYPES["F32"], decode_padded)
    yield _run(dtype.name, dtype, shape, lambda stored: dequantize(stored, dtype))


def _rows_are_whole(dtype: DType, shape: Shape) -> bool:
    return bool(shape) and shape[-1] % dtype.block_size == 0


def _whole_rows(dtype: DType, shape: Shape, order: Callable[[Bytes], Bytes]) -> Encoding:
    stored_shape = (*shape[:-1], dtype.row_nbytes(shape[-1]))

    def decode(stored: Bytes) -> Array:
        return order(stored).reshape(stored_shape)

    return Encoding(dtype.name, math.prod(stored_shape), dtype, decode)


def _run(name: str, dtype: DType, shape: Shape, values: Callable[[Bytes], NDArray[np.float32]]) -> Encoding:
    """Blocks like those of `dtype` over all elements, the last one padded."""
    count = math.prod(shape)

    def decode(stored: Bytes) -> Array:
        return values(stored)[:count].reshape(shape)

    return Encoding(f"{name}, one run", -(-count // dtype.block_size) * dtype.block_nbytes, DTYPES["F32"], decode)


def _apr_q4(shape: Shape) -> Encoding:
    """32 elements: a half-precision scale and 16 bytes, elements 2i and 2i + 1 in byte i; (nibble - 8) * scale."""
    q4_0 = DTYPES["Q4_0"]
    if _rows_are_whole(q4_0, shape):
        return _whole_rows(q4_0, shape, reordered)
    return _run(APR_Q4, q4_0, shape, lambda stored: dequantize(reordered(stored), q4_0))


def reordered(stored: Bytes) -> Bytes:
    """AprQ4 blocks as those of Q4_0, where byte j holds elements j and j + 16."""
    blocks: NDArray[Any] = stored.reshape(-1, 18)
    elements = np.stack([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=2).reshape(-1, 32)
    packed = elements[:, :16] | elements[:, 16:] << 4
    return np.concatenate([blocks[:, :2], packed], axis=1).reshape(-1)


def _apr_q8(shape: Shape) -> Encoding:
    """One float32 scale for the whole tensor, then its elements as I8; nothing at all for an empty tensor."""
    count = math.prod(shape)

    def decode(stored: Bytes) -> Array:
        scale = stored[:4].view("<f4")
        with np.errstate(over="ignore", invalid="ignore"):
            return (stored[4:].view(np.int8) * scale).reshape(shape) if count else np.empty(shape, np.float32)

    return Encoding(APR_Q8, 4 + count if count else 0, DTYPES["F32"], decode)
