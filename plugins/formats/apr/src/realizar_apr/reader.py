"""From a path to a ModelFile: header, metadata, index; then every tensor under its canonical name."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from realizar.errors import ModelError, TokenizerError
from realizar.huggingface.json_object import JsonObject
from realizar.mapped_file import MappedFile
from realizar.model import ModelConfig, ModelFile, TokenizerSpec
from realizar.prepacked import set_apart
from realizar.tensors import Array, LazyTensor
from realizar_apr.compression import Image, expanded
from realizar_apr.config import read_config, read_our_config
from realizar_apr.header import Header, read_header
from realizar_apr.index import TensorInfo, read_index
from realizar_apr.metadata import is_ours, read_metadata
from realizar_apr.tensors import EMBEDDING, canonical, put_right
from realizar_apr.trailer import find_trailer
from realizar_apr.variants import MAGIC
from realizar_apr.vocabulary import read_tokenizer


def read_apr(path: Path) -> ModelFile:
    """The model at `path`; raises FormatError for a bad file and for the older layouts of that name.

    metadata: the file's own keys but for the tables of the vocabulary.
    """
    with contextlib.ExitStack() as closing:
        mapped = MappedFile(path, f"{MAGIC!r}")
        closing.callback(mapped.close)
        header = read_header(mapped.view, path.name)
        image = expanded(mapped, header)
        closing.callback(image.close)
        model = _open(path, image, header)
        closing.pop_all()
        return model


def _open(path: Path, file: Image, header: Header) -> ModelFile:
    data = file.view
    header.prove(len(data), path.name)
    metadata = read_metadata(data, header, path.name)
    infos = read_index(data, header, path.name)
    if not header.is_compressed:  # there nothing says over which bytes a checksum would be
        find_trailer(data, header, infos, path.name)
    tensors, prepacked = set_apart({info.name: _lazy(path.name, file, info) for info in infos})
    config, tensors, no_config = _configured(metadata, tensors)
    tokenizer, no_tokenizer = _tokenizer(metadata)
    return ModelFile(
        path, "apr", config, tensors, tokenizer, _shown(metadata), no_config, file.close, no_tokenizer,
        prepacked,
    )  # fmt: skip


def _lazy(file_name: str, file: Image, info: TensorInfo) -> LazyTensor:
    encoding = info.encoding

    def read() -> Array:
        stored = np.frombuffer(file.view[info.offset : info.end], np.uint8)
        if info.offset % encoding.dtype.block_nbytes and not encoding.dtype.is_quantized:
            stored = stored.copy()  # numbers that the file leaves unaligned
        found = encoding.decode(stored)
        found.flags.writeable = False
        return found

    def release() -> None:
        file.release(info.offset, encoding.nbytes)

    return LazyTensor(info.name, info.shape, encoding.dtype, f"{file_name}: {info.name}", read, release)


def _configured(
    metadata: JsonObject, tensors: dict[str, LazyTensor]
) -> tuple[ModelConfig | None, dict[str, LazyTensor], str]:
    """Configuration and canonical tensors, or why there is none: the file can still be looked into."""
    try:
        if is_ours(metadata):
            tensors = canonical(tensors, metadata)
            return read_our_config(metadata), tensors, ""
        config = read_config(metadata, _rows_of_embedding(tensors))
        return config, put_right(config, tensors, metadata), ""
    except ModelError as error:
        return None, tensors, str(error)


def _rows_of_embedding(tensors: dict[str, LazyTensor]) -> int | None:
    found = next((tensors[name] for name in (EMBEDDING, "token_embd.weight") if name in tensors), None)
    return found.shape[0] if found is not None and found.shape else None


def _tokenizer(metadata: JsonObject) -> tuple[TokenizerSpec | None, str]:
    try:
        found = read_tokenizer(metadata)
    except TokenizerError as error:
        return None, str(error)
    return found, "" if found else "no vocabulary is embedded in it"


def _shown(metadata: JsonObject) -> dict[str, object]:
    return {
        key: value
        for key, value in metadata.values.items()
        if not (key.startswith("tokenizer.") and isinstance(value, list))
    }
