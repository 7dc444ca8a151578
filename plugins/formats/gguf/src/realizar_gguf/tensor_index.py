"""Where each tensor lies and what it is. Source: GGUF specification, "gguf_tensor_info_t"."""

from __future__ import annotations

from itertools import pairwise

import attrs

from realizar.dtypes import DType
from realizar.errors import FormatError
from realizar_gguf.byteorder import SWAPPABLE
from realizar_gguf.cursor import Cursor
from realizar_gguf.ggml_types import REMOVED, TYPES
from realizar_gguf.metadata import Metadata, ValueType

DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
MAX_NAME_NBYTES = 64


@attrs.frozen
class TensorInfo:
    """A tensor proven to lie inside the file.

    shape: outermost dimension first, the reverse of the file's order.
    offset: of its data, from the start of the file; described_at: of its description, for errors.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    nbytes: int
    offset: int
    described_at: int


def alignment_of(metadata: Metadata) -> int:
    """general.alignment: a UINT32, a power of two from 8 to 65536; 32 without the key."""
    entry = metadata.entries.get("general.alignment")
    if entry is None:
        return DEFAULT_ALIGNMENT
    value = entry.value
    valid = entry.type is ValueType.UINT32 and isinstance(value, int) and 8 <= value <= 65536
    if not valid or value & (value - 1):  # type: ignore[operator]
        raise metadata.error("general.alignment", "a UINT32 that is a power of two from 8 to 65536")
    return value  # type: ignore[return-value]


def read_tensor_index(cursor: Cursor, count: int, alignment: int) -> list[TensorInfo]:
    """`count` tensor descriptions; their data, behind them, is inside the file and does not overlap."""
    seen: set[str] = set()
    relative: list[TensorInfo] = []
    for index in range(count):
        at = cursor.position
        info = _read_info(cursor, index, alignment)
        if info.name in seen:
            raise cursor.error(f"tensor {info.name!r} a second time", "each tensor once", at)
        seen.add(info.name)
        relative.append(info)
    cursor.align(alignment)
    tensors = [attrs.evolve(info, offset=info.offset + cursor.position) for info in relative]
    _prove_ranges(cursor, tensors)
    return tensors


def _read_info(cursor: Cursor, index: int, alignment: int) -> TensorInfo:
    """Name, number of dimensions u32, dimensions u64, type u32, offset u64 (relative to the data section)."""
    at = cursor.position
    name = cursor.string(f"name of tensor {index}", limit=MAX_NAME_NBYTES)
    if not name:
        raise cursor.error(f"tensor {index} with an empty name", "a name", at)
    shape = _read_shape(cursor, name)
    dtype = _read_type(cursor, name)
    try:
        row_nbytes = dtype.row_nbytes(shape[-1] if shape else 1)
    except FormatError as error:
        raise cursor.error(f"tensor {name!r}: {error}", f"a multiple of {dtype.block_size}", at) from None
    nbytes = row_nbytes
    for size in shape[:-1]:
        nbytes *= size
    offset_at = cursor.position
    offset = cursor.u64(f"the offset of tensor {name!r}")
    if offset % alignment:
        raise cursor.error(f"offset {offset} of tensor {name!r}", f"a multiple of the alignment {alignment}", offset_at)
    return TensorInfo(name, shape, dtype, nbytes, offset, at)


def _read_shape(cursor: Cursor, name: str) -> tuple[int, ...]:
    at = cursor.position
    num_dimensions = cursor.u32(f"the number of dimensions of tensor {name!r}")
    if num_dimensions > MAX_DIMENSIONS:
        raise cursor.error(f"{num_dimensions} dimensions of tensor {name!r}", f"at most {MAX_DIMENSIONS}", at)
    sizes = []
    for _ in range(num_dimensions):
        at = cursor.position
        sizes.append(cursor.u64(f"a dimension of tensor {name!r}"))
        if not sizes[-1]:
            raise cursor.error(f"a dimension of 0 in tensor {name!r}", "1 or more", at)
    return tuple(reversed(sizes))


def _read_type(cursor: Cursor, name: str) -> DType:
    at = cursor.position
    number = cursor.u32(f"the type of tensor {name!r}")
    if number in REMOVED:
        raise cursor.error(
            f"type {number} ({REMOVED[number]}) of tensor {name!r}, which ggml has removed",
            "a current type; quantize the model anew from its original",
            at,
        )
    if number not in TYPES:
        raise cursor.error(f"type {number} of tensor {name!r}", f"a known type, at most {max(TYPES)}", at)
    dtype = TYPES[number]
    if cursor.byteorder == "big" and dtype.name not in SWAPPABLE:
        raise cursor.error(
            f"{dtype.name} tensor {name!r} in a big-endian file",
            f"one of {', '.join(sorted(SWAPPABLE))}; no other type has a defined big-endian layout",
            at,
        )
    return dtype


def _prove_ranges(cursor: Cursor, tensors: list[TensorInfo]) -> None:
    size = len(cursor.data)
    for info in tensors:
        if info.offset + info.nbytes > size:
            shape = " x ".join(map(str, info.shape)) or "a scalar"
            span = f"in bytes {info.offset} to {info.offset + info.nbytes}"
            raise cursor.error(
                f"tensor {info.name!r}, {shape} {info.dtype.name}, {span}",
                f"its data inside the file of {size} bytes; is the download complete?",
                info.described_at,
            )
    for before, after in pairwise(sorted(tensors, key=lambda info: info.offset)):
        if before.offset + before.nbytes > after.offset:
            raise cursor.error(
                f"tensor {after.name!r} at byte {after.offset}",
                f"byte {before.offset + before.nbytes} or later, where tensor {before.name!r} ends",
                after.described_at,
            )
