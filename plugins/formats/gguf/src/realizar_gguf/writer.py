"""Writes GGUF files, whole or split; a file appears under its name only when it is complete."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import attrs
import numpy as np

from realizar.dtypes import DType
from realizar.errors import FormatError
from realizar.progress import Progress, silent
from realizar.tensors import Array, LazyTensor
from realizar_gguf.byteorder import SWAPPABLE, swap_bytes
from realizar_gguf.cursor import PREFIXES, ByteOrder
from realizar_gguf.encoding import Typed, encode_pair, encode_string
from realizar_gguf.ggml_types import NUMBERS
from realizar_gguf.header import MAGIC, VERSIONS
from realizar_gguf.metadata import ValueType
from realizar_gguf.splits import shard_path
from realizar_gguf.tensor_index import DEFAULT_ALIGNMENT, MAX_DIMENSIONS, MAX_NAME_NBYTES

Tensor = tuple[str, Sequence[int], DType, Array | LazyTensor]
"""GGUF name, shape (outermost first), type, stored bytes as `LazyTensor.read` gives them (little-endian), or what
reads them; such a tensor is read when its turn comes, and released."""


@attrs.frozen
class _Layout:
    version: int
    byteorder: ByteOrder
    alignment: int
    progress: Progress


def write_gguf(
    path: Path,
    metadata: Mapping[str, object],
    tensors: Sequence[Tensor],
    *,
    version: int = 3,
    byteorder: ByteOrder = "little",
    alignment: int = DEFAULT_ALIGNMENT,
    tensors_per_file: int | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Write a model and return its files: `path`, or with `tensors_per_file` PATH-00001-of-0000N.gguf and so on.

    metadata: plain Python values or `Typed` (see `encoding`); tensors keep their GGUF names and row order.
    Each file is written under a temporary name in the same directory, synced and renamed.
    Raises FormatError for what GGUF cannot hold.
    """
    layout = _Layout(version, byteorder, alignment, progress)
    _check_layout(layout, metadata)
    _check_tensors(tensors, layout)
    if alignment != DEFAULT_ALIGNMENT:
        metadata = {**metadata, "general.alignment": Typed(ValueType.UINT32, alignment)}
    parts = list(_split(path, metadata, tensors, layout, tensors_per_file))
    with contextlib.ExitStack() as stack:
        written = [(_write_temporary(target, content, layout, stack), target) for target, *content in parts]
        for temporary, target in written:
            os.replace(temporary, target)
    return [target for target, *_ in parts]


Part = tuple[Path, Mapping[str, object], Sequence[Tensor]]


def _split(
    path: Path, metadata: Mapping[str, object], tensors: Sequence[Tensor], layout: _Layout, tensors_per_file: int | None
) -> Iterator[Part]:
    """All metadata goes into the first part; the others have the split keys and the alignment."""
    if tensors_per_file is None:
        yield path, metadata, tensors
        return
    if tensors_per_file < 1:
        raise FormatError(f"{path.name}: found {tensors_per_file} tensors per file, expected 1 or more")
    count = max(1, math.ceil(len(tensors) / tensors_per_file))
    shared = {key: value for key, value in metadata.items() if key == "general.alignment"}
    for number in range(count):
        keys = {
            "split.no": Typed(ValueType.UINT16, number),
            "split.count": Typed(ValueType.UINT16, count),
            "split.tensors.count": Typed(ValueType.INT32, len(tensors)),
        }
        part = tensors[number * tensors_per_file : (number + 1) * tensors_per_file]
        yield shard_path(path, number + 1, count), {**(metadata if number == 0 else shared), **keys}, part


def _check_layout(layout: _Layout, metadata: Mapping[str, object]) -> None:
    if layout.version not in VERSIONS:
        raise FormatError(f"found version {layout.version}, expected one of {VERSIONS}")
    alignment = layout.alignment
    if not 8 <= alignment <= 65536 or alignment & (alignment - 1):
        raise FormatError(f"found alignment {alignment}, expected a power of two from 8 to 65536")
    stated = metadata.get("general.alignment", alignment)
    if (stated.value if isinstance(stated, Typed) else stated) != alignment:
        raise FormatError(f"found general.alignment = {stated}, expected {alignment}, the argument `alignment`")


def _check_tensors(tensors: Sequence[Tensor], layout: _Layout) -> None:
    seen: set[str] = set()
    for name, shape, dtype, stored in tensors:
        where = f"tensor {name!r}"
        if name in seen or not 1 <= len(name.encode("utf-8")) <= MAX_NAME_NBYTES:
            raise FormatError(f"{where}: found a name that is used twice, empty or over {MAX_NAME_NBYTES} bytes")
        seen.add(name)
        if len(shape) > MAX_DIMENSIONS or any(size < 1 for size in shape):
            raise FormatError(
                f"{where}: found shape {tuple(shape)}, expected up to {MAX_DIMENSIONS} sizes of 1 or more"
            )
        if dtype.name not in NUMBERS or (layout.byteorder == "big" and dtype.name not in SWAPPABLE):
            raise FormatError(f"{where}: found {dtype.name}, which has no {layout.byteorder}-endian GGUF form")
        dtype.row_nbytes(shape[-1] if shape else 1)  # raises FormatError for rows that are not whole blocks
        if not isinstance(stored, LazyTensor):
            _check_stored(name, shape, dtype, stored)


def _check_stored(name: str, shape: Sequence[int], dtype: DType, stored: Array) -> None:
    nbytes = _nbytes(shape, dtype)
    if stored.nbytes != nbytes or stored.dtype != np.dtype(dtype.storage):
        raise FormatError(
            f"tensor {name!r}: found {stored.nbytes} bytes of {stored.dtype}, expected {nbytes} of {dtype.storage}"
        )


def _nbytes(shape: Sequence[int], dtype: DType) -> int:
    return math.prod(shape[:-1]) * dtype.row_nbytes(shape[-1] if shape else 1)


def _write_temporary(target: Path, content: Sequence[object], layout: _Layout, stack: contextlib.ExitStack) -> Path:
    """Write one file beside `target`; the temporary is removed with `stack` unless it was renamed."""
    metadata, tensors = content
    assert isinstance(metadata, Mapping)
    assert isinstance(tensors, Sequence)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    stack.callback(temporary.unlink, missing_ok=True)
    with open(temporary, "xb") as file:
        file.write(_head(metadata, tensors, layout))
        _write_data(file, tensors, layout)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _head(metadata: Mapping[str, object], tensors: Sequence[Tensor], layout: _Layout) -> bytes:
    prefix = PREFIXES[layout.byteorder]
    pieces = [MAGIC, struct.pack(prefix + "IQQ", layout.version, len(tensors), len(metadata))]
    pieces += [encode_pair(key, value, prefix) for key, value in metadata.items()]
    offset = 0
    for name, shape, dtype, _ in tensors:
        sizes = tuple(reversed(shape))
        pieces.append(encode_string(name, prefix))
        pieces.append(struct.pack(f"{prefix}I{len(sizes)}Q", len(sizes), *sizes))
        pieces.append(struct.pack(prefix + "IQ", NUMBERS[dtype.name], offset))
        nbytes = _nbytes(shape, dtype)
        offset += nbytes + -nbytes % layout.alignment
    return b"".join(pieces)


def _write_data(file: BinaryIO, tensors: Sequence[Tensor], layout: _Layout) -> None:
    total, done = sum(_nbytes(shape, dtype) for _, shape, dtype, _ in tensors), 0
    for name, shape, dtype, content in tensors:
        layout.progress("writing", done, total)
        file.write(bytes(-file.tell() % layout.alignment))
        stored = content.read() if isinstance(content, LazyTensor) else content
        _check_stored(name, shape, dtype, stored)
        ordered = stored if layout.byteorder == "little" else swap_bytes(stored, dtype)
        file.write(np.ascontiguousarray(ordered).data)
        if isinstance(content, LazyTensor):
            content.release()
        done += stored.nbytes
    file.write(bytes(-file.tell() % layout.alignment))
    layout.progress("writing", total, total)
