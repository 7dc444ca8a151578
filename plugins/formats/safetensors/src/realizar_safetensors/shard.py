"""One Safetensors file, parsed: header over a mapping."""

from __future__ import annotations

import logging
from pathlib import Path

import attrs
import numpy as np

from realizar.mapped_file import MappedFile
from realizar.tensors import Array, LazyTensor
from realizar_safetensors.header import Header, TensorInfo, read_header

log = logging.getLogger(__name__)


@attrs.frozen
class Shard:
    """A whole file, or one of several that hold a model together."""

    file: MappedFile
    header: Header

    def read(self, info: TensorInfo) -> Array:
        """The stored bytes of a tensor: a read-only view, or a copy where the file leaves numbers unaligned."""
        storage = np.dtype(info.dtype.storage)
        view = self.file.view[info.offset : info.offset + info.nbytes]
        stored = np.frombuffer(view, storage).reshape(info.shape) if info.nbytes else np.empty(info.shape, storage)
        if not stored.flags.aligned:
            stored = stored.copy()
        stored.flags.writeable = False
        return stored

    def lazy(self, info: TensorInfo) -> LazyTensor:
        """The tensor, not read."""
        return LazyTensor(
            info.name, info.shape, info.dtype, f"{self.file.path.name}: {info.name}",
            lambda: self.read(info), lambda: self.file.release(info.offset, info.nbytes),
        )  # fmt: skip


def open_shard(path: Path) -> Shard:
    """Map `path` and parse its header; raises FormatError and leaves nothing open."""
    file = MappedFile(path, "a header size")
    try:
        header = read_header(file.view, path.name)
    except BaseException:
        file.close()
        raise
    unaligned = sum(info.offset % info.dtype.block_nbytes != 0 for info in header.tensors)
    if unaligned:
        log.warning(
            "%s: %d of %d tensors are not aligned to their numbers, so reading them copies them; "
            "saving the file again with a current writer mends that",
            path.name, unaligned, len(header.tensors),
        )  # fmt: skip
    return Shard(file, header)
