"""Writes Safetensors files, whole or sharded; a file appears under its name only when it is complete."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from realizar.errors import FormatError
from realizar.tensors import LazyTensor
from realizar_safetensors.header import (
    MAX_DIMENSIONS,
    MAX_HEADER_NBYTES,
    MAX_METADATA_NBYTES,
    MAX_NAME_NBYTES,
    MAX_TENSORS,
    NAMES,
)
from realizar_safetensors.index import MAX_SHARDS
from realizar_safetensors.model_files import INDEX_SUFFIX, SUFFIX

ALIGNMENT = 8
"""The header is padded so that the tensors' bytes begin at a multiple of this."""


def write_safetensors(
    path: Path,
    tensors: Iterable[LazyTensor],
    metadata: Mapping[str, str] | None = None,
    *,
    max_shard_nbytes: int | None = None,
) -> list[Path]:
    """Write tensors and return the files: `path`, or shards NAME-00001-of-0000N.safetensors and their index.

    Tensors keep their names and bytes; they are read one after another and released, so memory holds one at a time.
    max_shard_nbytes: bytes of tensors in a file, which only a single larger tensor exceeds; one shard is `path` itself.
    Every file is written under a temporary name in the same directory, synced, and renamed when all are complete, the
    index last. Raises FormatError for what Safetensors cannot hold.
    """
    metadata = {} if metadata is None else metadata
    listed = _in_order_of_alignment(tensors)
    _check_metadata(metadata)
    _check_tensors(listed)
    shards = [listed] if max_shard_nbytes is None else _split(listed, max_shard_nbytes)
    if len(shards) > MAX_SHARDS:
        raise FormatError(f"{path.name}: found {len(shards)} shards, expected at most {MAX_SHARDS}; make them larger")
    with contextlib.ExitStack() as stack:
        if len(shards) == 1:
            files = [_Pending.write(path, listed, metadata, stack)]
        else:
            files = _write_shards(path, shards, metadata, stack)
        for file in files:
            os.replace(file.temporary, file.target)
    return [file.target for file in files]


def _in_order_of_alignment(tensors: Iterable[LazyTensor]) -> list[LazyTensor]:
    """Wider numbers first, so that every tensor is aligned to its own; otherwise as given."""
    return sorted(tensors, key=lambda tensor: -tensor.dtype.block_nbytes)


def _check_metadata(metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise FormatError(f"found metadata {key!r}: {value!r}, expected text; write other values as JSON")
    _check_text(json.dumps(dict(metadata), ensure_ascii=False), "metadata", MAX_METADATA_NBYTES)


def _check_text(text: str, what: str, limit: int) -> None:
    try:
        nbytes = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise FormatError(f"found half a surrogate pair in {what}, expected Unicode text") from None
    if nbytes > limit:
        raise FormatError(f"found {nbytes} bytes of {what}, expected at most {limit}")


def _check_tensors(tensors: Sequence[LazyTensor]) -> None:
    if len(tensors) > MAX_TENSORS:
        raise FormatError(f"found {len(tensors)} tensors, expected at most {MAX_TENSORS}")
    seen = {"__metadata__"}
    for tensor in tensors:
        where = f"tensor {tensor.name!r}"
        if tensor.name in seen:
            raise FormatError(f"{where}: found a name that is used twice or reserved")
        seen.add(tensor.name)
        _check_text(json.dumps(tensor.name, ensure_ascii=False), f"the name of {where}", MAX_NAME_NBYTES)
        if tensor.dtype.name not in NAMES:
            raise FormatError(
                f"{where}: found {tensor.dtype.name}, expected one of {', '.join(NAMES)}; "
                f"Safetensors has no other types, so convert the tensor first"
            )
        if len(tensor.shape) > MAX_DIMENSIONS:
            raise FormatError(f"{where}: found {len(tensor.shape)} dimensions, expected at most {MAX_DIMENSIONS}")


def _split(tensors: Sequence[LazyTensor], max_nbytes: int) -> list[list[LazyTensor]]:
    if max_nbytes < 1:
        raise FormatError(f"found max_shard_nbytes {max_nbytes}, expected 1 or more")
    shards: list[list[LazyTensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if shards[-1] and filled + tensor.nbytes > max_nbytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += tensor.nbytes
    return shards


def _write_shards(
    path: Path, shards: Sequence[Sequence[LazyTensor]], metadata: Mapping[str, str], stack: contextlib.ExitStack
) -> list[_Pending]:
    stem, count = path.name.removesuffix(SUFFIX), len(shards)
    names = [f"{stem}-{number:05d}-of-{count:05d}{SUFFIX}" for number in range(1, count + 1)]
    files = [
        _Pending.write(path.with_name(name), shard, metadata, stack) for name, shard in zip(names, shards, strict=True)
    ]
    weight_map = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    total = sum(tensor.nbytes for shard in shards for tensor in shard)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    content = json.dumps(index, indent=2, ensure_ascii=False).encode("utf-8")
    return [*files, _Pending.create(path.with_name(f"{stem}{INDEX_SUFFIX}"), [content], stack)]


@attrs.frozen
class _Pending:
    """A complete file under a temporary name; removed with the stack unless it was renamed."""

    temporary: Path
    target: Path

    @classmethod
    def write(
        cls, target: Path, tensors: Sequence[LazyTensor], metadata: Mapping[str, str], stack: contextlib.ExitStack
    ) -> _Pending:
        return cls.create(target, _content(tensors, metadata), stack)

    @classmethod
    def create(cls, target: Path, content: Iterable[bytes | memoryview], stack: contextlib.ExitStack) -> _Pending:
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
        stack.callback(temporary.unlink, missing_ok=True)
        with open(temporary, "xb") as file:
            for part in content:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        return cls(temporary, target)


def _content(tensors: Sequence[LazyTensor], metadata: Mapping[str, str]) -> Iterable[bytes | memoryview]:
    """Header size, header, and the bytes of each tensor."""
    header = _header(tensors, metadata)
    if len(header) > MAX_HEADER_NBYTES:
        raise FormatError(f"found a header of {len(header)} bytes, expected at most {MAX_HEADER_NBYTES}")
    yield len(header).to_bytes(8, "little")
    yield header
    for tensor in tensors:
        stored = np.ascontiguousarray(tensor.read())
        if stored.nbytes != tensor.nbytes or stored.dtype != np.dtype(tensor.dtype.storage):
            expected = f"{tensor.nbytes} of {tensor.dtype.storage}"
            raise FormatError(f"{tensor.source}: found {stored.nbytes} bytes of {stored.dtype}, expected {expected}")
        yield stored.reshape(-1).view(np.uint8).data
        tensor.release()


def _header(tensors: Sequence[LazyTensor], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for tensor in tensors:
        begin, end = end, end + tensor.nbytes
        entries[tensor.name] = {
            "dtype": tensor.dtype.name, "shape": list(tensor.shape), "data_offsets": [begin, end]
        }  # fmt: skip
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return text + b" " * (-len(text) % ALIGNMENT)
