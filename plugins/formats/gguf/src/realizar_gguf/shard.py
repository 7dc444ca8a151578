"""One GGUF file, parsed: header, metadata and tensor index over a mapping."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np

from realizar.mapped_file import MappedFile
from realizar.tensors import Array
from realizar_gguf.byteorder import swap_bytes
from realizar_gguf.header import MAGIC, Header, read_header
from realizar_gguf.metadata import Metadata, read_metadata
from realizar_gguf.tensor_index import TensorInfo, alignment_of, read_tensor_index


@attrs.frozen
class Shard:
    """A whole file, or one of several that hold a model together."""

    file: MappedFile
    header: Header
    metadata: Metadata
    tensors: list[TensorInfo]

    def read(self, info: TensorInfo) -> Array:
        """The stored bytes of a tensor, as `LazyTensor.read` wants them: a view unless the file is big-endian."""
        storage = np.dtype(info.dtype.storage)
        flat = np.frombuffer(self.file.view, storage, info.nbytes // storage.itemsize, info.offset)
        innermost = (info.dtype.row_nbytes(info.shape[-1]),) if info.dtype.is_quantized else info.shape[-1:]
        stored = flat.reshape(info.shape[:-1] + innermost)
        if self.header.byteorder == "little":
            return stored
        swapped = swap_bytes(stored, info.dtype)
        swapped.flags.writeable = False
        return swapped


def open_shard(path: Path) -> Shard:
    """Map `path` and parse everything in front of its tensor data; raises FormatError and leaves nothing open."""
    file = MappedFile(path, f"{MAGIC!r}")
    try:
        header, cursor = read_header(file.view, path.name)
        metadata = read_metadata(cursor, header.num_keys)
        alignment = alignment_of(metadata)
        tensors = read_tensor_index(cursor, header.num_tensors, alignment) if header.num_tensors else []
    except BaseException:
        file.close()
        raise
    return Shard(file, header, metadata, tensors)
