"""Writes APR files in aprender's form; a file appears under its name only when it is complete.

Source: aprender `src/format/v2/`; realizar's own additions are the metadata `realizar.*`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from realizar.conversion.source_metadata import KEY, packed
from realizar.errors import FormatError
from realizar.model import ModelFile
from realizar.prepacked import copy_name
from realizar.progress import Progress, silent
from realizar.tensors import LazyTensor
from realizar_apr.codes import APRENDER, NUMBERS, WRITABLE
from realizar_apr.config import config_keys
from realizar_apr.header import (
    HEADER_NBYTES,
    MAX_METADATA_NBYTES,
    MAX_TENSORS,
    QUANTIZED,
    ROW_MAJOR,
    VOCABULARY,
    Header,
)
from realizar_apr.index import MAX_DIMENSIONS, MAX_ELEMENTS, MAX_NAME_NBYTES, aligned, encode_record
from realizar_apr.metadata import LAYOUT, LAYOUT_KEY
from realizar_apr.tensors import APRENDER_NAMES, EMBEDDING, OUTPUT
from realizar_apr.vocabulary import tokenizer_keys

log = logging.getLogger(__name__)

_ABOUT = (
    "name", "description", "author", "license", "version", "source", "original_format", "created_at", "data_source",
    "data_license",
)  # fmt: skip
"""Texts about a model, which have keys of their own; GGUF files have some of them under `general.`."""


@attrs.frozen
class _Entry:
    """A tensor of the file: its name there, its offset from the start of the data."""

    name: bytes
    tensor: LazyTensor
    offset: int

    def record(self) -> bytes:
        tensor = self.tensor
        return encode_record(self.name, NUMBERS[tensor.dtype.name], tensor.shape, self.offset, tensor.nbytes)


def write_apr(path: Path, model: ModelFile, progress: Progress = silent) -> None:
    """Write `model` to `path`: tensors keep their bytes, are read one after another and released.

    The file is written under a temporary name in the same directory, synced and renamed. An output layer that is the
    embedding gets an entry over the same bytes, because other readers want one. Types that aprender does not read get
    ggml's code, and a warning. Raises FormatError for what the format cannot hold.
    """
    tensors = {**model.tensors, **_copies(model)}
    _check(tensors)
    entries = _placed(tensors)
    listed = [*entries, *_tied(entries, model.tensors)]
    index = b"".join(entry.record() for entry in sorted(listed, key=lambda entry: entry.name))
    head = _head(_metadata(model, len(listed) > len(entries)), index, len(listed), _flags(model))
    _warn(path.name, entries)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            checksum = 0
            for part in _content(head, entries, path.name, progress):
                file.write(part)
                checksum = zlib.crc32(part, checksum)
            file.write(checksum.to_bytes(4, "little"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _copies(model: ModelFile) -> dict[str, LazyTensor]:
    """What the file holds of `ModelFile.prepacked`."""
    return {
        copy_name(layout, name): copy for layout, copies in model.prepacked.items() for name, copy in copies.items()
    }


def _check(tensors: Mapping[str, LazyTensor]) -> None:
    if len(tensors) >= MAX_TENSORS:
        raise FormatError(f"found {len(tensors)} tensors, expected fewer than {MAX_TENSORS}")
    for name, tensor in tensors.items():
        where = f"tensor {name!r}"
        if not 1 <= len(_encoded(name)) <= MAX_NAME_NBYTES:
            raise FormatError(f"{where}: found a name that is empty or over {MAX_NAME_NBYTES} bytes")
        if tensor.dtype.name not in WRITABLE:
            raise FormatError(
                f"{where}: found {tensor.dtype.name}, expected one of {', '.join(sorted(WRITABLE))}; "
                f"APR has no other types, so convert the tensor first"
            )
        if len(tensor.shape) > MAX_DIMENSIONS or math.prod(tensor.shape) > MAX_ELEMENTS:
            raise FormatError(f"{where}: found shape {tensor.shape}, expected at most {MAX_DIMENSIONS} dimensions")


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"{text!r}: found half a surrogate pair, expected Unicode text") from None


def _placed(tensors: Mapping[str, LazyTensor]) -> list[_Entry]:
    """Tensors in the order of their names, each at the next unit of alignment."""
    named = sorted((_encoded(APRENDER_NAMES.get(name, name)), tensor) for name, tensor in tensors.items())
    entries, offset = [], 0
    for name, tensor in named:
        entries.append(_Entry(name, tensor, offset))
        offset += aligned(tensor.nbytes)
    return entries


def _tied(entries: Sequence[_Entry], tensors: Mapping[str, LazyTensor]) -> Iterator[_Entry]:
    """The output layer over the bytes of the embedding, where the model has no other."""
    for entry in entries:
        if entry.name == _encoded(EMBEDDING) and OUTPUT not in tensors:
            yield attrs.evolve(entry, name=_encoded(OUTPUT))


def _flags(model: ModelFile) -> int:
    quantized = any(tensor.dtype.is_quantized for tensor in model.tensors.values())
    return ROW_MAJOR | (QUANTIZED if quantized else 0) | (VOCABULARY if model.tokenizer else 0)


def _head(metadata: bytes, index: bytes, num_tensors: int, flags: int) -> bytes:
    """Everything before the data."""
    index_offset = HEADER_NBYTES + aligned(len(metadata))
    data_offset = index_offset + aligned(len(index))
    header = Header(flags, num_tensors, HEADER_NBYTES, len(metadata), index_offset, data_offset)
    return header.to_bytes() + _padded(metadata) + _padded(index)


def _padded(part: bytes) -> bytes:
    return part + bytes(aligned(len(part)) - len(part))


def _content(head: bytes, entries: Sequence[_Entry], name: str, progress: Progress) -> Iterator[bytes | memoryview]:
    yield head
    for done, entry in enumerate(entries):
        progress(f"writing {name}", done, len(entries))
        tensor = entry.tensor
        stored = np.ascontiguousarray(tensor.read())
        if stored.nbytes != tensor.nbytes or stored.dtype != np.dtype(tensor.dtype.storage):
            expected = f"{tensor.nbytes} of {tensor.dtype.storage}"
            raise FormatError(f"{tensor.source}: found {stored.nbytes} bytes of {stored.dtype}, expected {expected}")
        yield stored.reshape(-1).view(np.uint8).data
        yield bytes(aligned(tensor.nbytes) - tensor.nbytes)
        tensor.release()
    progress(f"writing {name}", len(entries), len(entries))


def _warn(file: str, entries: Sequence[_Entry]) -> None:
    found = sorted({entry.tensor.dtype.name for entry in entries} - set(APRENDER))
    if found:
        log.warning(
            "%s: %s have ggml's type codes, which realizar reads and aprender does not; "
            "it reads %s", file, ", ".join(found), ", ".join(APRENDER),
        )  # fmt: skip


def _metadata(model: ModelFile, tied: bool) -> bytes:
    """One compact JSON object, every canonical key once."""
    about = {key: model.metadata.get(key, model.metadata.get(f"general.{key}")) for key in _ABOUT}
    tensors = model.tensors.values()
    values: dict[str, Any] = {
        **{key: value if isinstance(value, str) else None for key, value in about.items()},
        **config_keys(model.config),
        "total_size": sum(tensor.nbytes for tensor in tensors),
        "param_count": sum(math.prod(tensor.shape) for tensor in tensors),
        "quantization": None,
        "sharding": None,
        "chat_format": None,
        **tokenizer_keys(model.tokenizer),
        **({"tied_embeddings": True} if tied else {}),
        LAYOUT_KEY: LAYOUT,
    }
    if (carried := packed(model)) is not None:
        values[KEY] = carried
    values["original_format"] = values["original_format"] or model.format
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        encoded = text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise FormatError(f"{model.path.name}: the metadata cannot be written as JSON: {error}") from None
    if len(encoded) > MAX_METADATA_NBYTES:
        raise FormatError(f"found {len(encoded)} bytes of metadata, expected at most {MAX_METADATA_NBYTES}")
    return encoded
