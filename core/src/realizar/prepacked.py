"""A backend's own copy of a weight inside a model file, so that loading repacks nothing.

A copy is a tensor of bytes beside the tensor that it was made of, and named after it; whoever does not know it may
ignore or drop it. What stands in front of its data tells whether it still fits:

| offset | type | field                                                               | read by  |
|--------|------|---------------------------------------------------------------------|----------|
| 0      | 8 B  | `prepack1`                                                          | load     |
| 8      | u32  | CRC-32 of the source's type, shape and SAMPLES pieces of its bytes  | load     |
| 12     | u32  | CRC-32 of the source's type, shape and bytes                        | `verify` |
| 16     | u32  | CRC-32 of the data                                                  | `verify` |
| 20     | 44 B | zero, so that the data is aligned as the tensor is                  |          |

Whoever changes a model changes its tensors as wholes, which samples show; reading all bytes would cost more than
repacking saves where the disk is slow.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.tensors import Array, LazyTensor

if TYPE_CHECKING:
    from realizar.backend import Backend

PREFIX = "realizar.prepacked."
"""Then the name of the layout, which has no dot, a dot, and the name of the source."""

HEADER_NBYTES = 64
SAMPLES, SAMPLE_NBYTES = 4, 4096

_MAGIC = b"prepack1"
_HEADER = struct.Struct("<8s3I44x")

Tensors = Mapping[str, LazyTensor]
Bytes = NDArray[np.uint8]


def copy_name(layout: str, name: str) -> str:
    """What the copy of the tensor `name` is called in a file."""
    return f"{PREFIX}{layout}.{name}"


def set_apart(tensors: Tensors) -> tuple[dict[str, LazyTensor], dict[str, dict[str, LazyTensor]]]:
    """The tensors of a file without the copies, and the copies: layout -> name of the source -> copy."""
    plain: dict[str, LazyTensor] = {}
    copies: dict[str, dict[str, LazyTensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(PREFIX):
            layout, _, source = name.removeprefix(PREFIX).partition(".")
            copies.setdefault(layout, {})[source] = tensor
        else:
            plain[name] = tensor
    return plain, copies


def copy_to_write(tensor: LazyTensor, ops: frozenset[str], backend: Backend) -> LazyTensor:
    """The copy that `backend` makes of `tensor` when it is read."""
    layout, nbytes = backend.prepacked_layout or "", backend.prepacked_nbytes(tensor)

    def read() -> Array:
        data = backend.prepack(tensor, ops)
        stored = _bytes(tensor)
        copy = np.empty(HEADER_NBYTES + nbytes, np.uint8)
        checksums = _checksum_of_samples(tensor, stored), _checksum(tensor, stored), zlib.crc32(data.data)
        copy[:HEADER_NBYTES] = np.frombuffer(_HEADER.pack(_MAGIC, *checksums), np.uint8)
        copy[HEADER_NBYTES:] = data
        tensor.release()
        return copy

    name = copy_name(layout, tensor.name)
    return LazyTensor(name, (HEADER_NBYTES + nbytes,), DTYPES["U8"], f"prepacked {tensor.source}", read)


def data_of(copy: LazyTensor, tensor: LazyTensor, nbytes: int) -> Bytes:
    """The data of a copy, a view of the file; raises FormatError if it is not `nbytes` made of `tensor`.

    nbytes: 0 for a tensor of which there should be no copy. Only samples of `tensor` are read.
    """
    if not nbytes:
        raise FormatError(f"{copy.source}: found a copy of {tensor.name!r}, expected none of such a tensor")
    header = _header(copy, HEADER_NBYTES + nbytes)
    if header[0] != _checksum_of_samples(tensor, _bytes(tensor)):
        raise FormatError(f"{copy.source}: found a copy of other weights than {tensor.name!r} holds now")
    return _bytes(copy)[HEADER_NBYTES:]


def findings(copy: LazyTensor, tensor: LazyTensor | None) -> Iterator[str]:
    """What is wrong with a copy, all bytes of it and of its source read."""
    if tensor is None:
        yield f"{copy.source}: found a copy of a tensor that is not in the file"
        return
    try:
        _, of_source, of_data = _header(copy, copy.nbytes)
    except FormatError as error:
        yield str(error)
        return
    if of_source != _checksum(tensor, _bytes(tensor)):
        yield f"{copy.source}: found a copy of other weights than {tensor.name!r} holds now"
    if of_data != zlib.crc32(_bytes(copy)[HEADER_NBYTES:].data):
        yield f"{copy.source}: found bytes that do not fit their checksum, expected {of_data:08x}"
    copy.release()
    tensor.release()


def _header(copy: LazyTensor, nbytes: int) -> tuple[int, int, int]:
    """The checksums; raises FormatError before anything is read unless the copy is `nbytes` plain bytes."""
    if copy.dtype.name != "U8" or copy.shape != (max(nbytes, HEADER_NBYTES),):
        found = f"{' x '.join(map(str, copy.shape))} {copy.dtype.name}"
        raise FormatError(f"{copy.source}: found {found}, expected {max(nbytes, HEADER_NBYTES)} U8")
    magic, *checksums = _HEADER.unpack_from(copy.read().data)
    if magic != _MAGIC:
        raise FormatError(f"{copy.source}: offset 0: found {magic!r}, expected {_MAGIC!r}")
    of_samples, of_source, of_data = checksums
    return of_samples, of_source, of_data


def _bytes(tensor: LazyTensor) -> Bytes:
    return np.ascontiguousarray(tensor.read()).reshape(-1).view(np.uint8)


def _checksum(tensor: LazyTensor, stored: Bytes) -> int:
    return zlib.crc32(stored.data, zlib.crc32(f"{tensor.dtype.name} {tensor.shape}".encode()))


def _checksum_of_samples(tensor: LazyTensor, stored: Bytes) -> int:
    """Of pieces from the first byte to the last, the same distance apart."""
    last = max(0, stored.nbytes - SAMPLE_NBYTES)
    starts = [last * i // (SAMPLES - 1) for i in range(SAMPLES)]
    return _checksum(tensor, np.concatenate([stored[at : at + SAMPLE_NBYTES] for at in starts]))
