"""Any model as a GGUF file: its configuration and tokenizer as keys, its tensors under GGUF's names and row orders."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from realizar.conversion.likeness import prove_alike
from realizar.conversion.source_metadata import retyped, source_metadata
from realizar.errors import FormatError
from realizar.model import ModelConfig, ModelFile, TokenizerSpec
from realizar.progress import Progress
from realizar.tensors import LazyTensor
from realizar_gguf.config import read_config
from realizar_gguf.config_keys import config_keys
from realizar_gguf.cursor import Cursor
from realizar_gguf.encoding import Typed, encode_pair
from realizar_gguf.file_type import file_type_keys
from realizar_gguf.gguf_tensors import gguf_tensors, without_factors
from realizar_gguf.keys import Incomplete
from realizar_gguf.metadata import ValueType, read_metadata
from realizar_gguf.tensor_index import TensorInfo
from realizar_gguf.vocabulary import read_tokenizer
from realizar_gguf.vocabulary_keys import losses, tokenizer_keys
from realizar_gguf.writer import write_gguf

log = logging.getLogger(__name__)

OF_THE_FILE = ("gguf.", "split.", "general.alignment", "realizar.")
"""Beginnings of keys that describe a file, not its model."""


def write_model(path: Path, model: ModelFile, progress: Progress) -> None:
    """Write `model`; raises FormatError for what GGUF cannot hold.

    Keys of a GGUF file that the model came from are kept where they still describe it.
    """
    if model.config is None:
        raise FormatError(f"{model.path}: cannot be written as GGUF: {model.no_config or 'it has no configuration'}")
    tensors = gguf_tensors(model.config, model.tensors)
    carried = source_metadata(model, "gguf")
    keys = _described(model, model.config, tensors, carried, path.name)
    keys |= file_type_keys(tensors, retyped(model), carried)
    write_gguf(path, keys, [(t.name, t.shape, t.dtype, t) for t in tensors], progress=progress)


def _described(
    model: ModelFile, config: ModelConfig, tensors: Sequence[LazyTensor], carried: Mapping[str, Any], file: str
) -> dict[str, object]:
    """Keys that are proven to be read back as the model's configuration and, as far as they can, its tokenizer."""
    vocabulary = {"tokenizer.ggml.model": "none"} if model.tokenizer is None else tokenizer_keys(model.tokenizer)
    if kept := _kept(carried, vocabulary):
        try:
            written = _read_back(kept, config, tensors, file)
        except FormatError as error:  # what lies beside the tensors was changed since; it counts
            log.warning("%s: keys of the first GGUF file are not used again: %s", model.path, error)
        else:
            if model.tokenizer is None or not losses(model.tokenizer, written):
                return kept
    general = {key: value for key, value in kept.items() if key.startswith("general.")}
    keys = {**general, **config_keys(config, tensors), **vocabulary}
    written = _read_back(keys, config, tensors, file)
    if model.tokenizer is not None and (lost := losses(model.tokenizer, written)):
        log.warning("%s: GGUF keeps of the tokenizer %s", model.tokenizer.source, lost)
    return keys


def _kept(carried: Mapping[str, Any], vocabulary: Mapping[str, object]) -> dict[str, object]:
    """The keys of the model's first GGUF file; what was too long to carry comes from the tokenizer."""
    types = carried.get("gguf.types", {})
    kept: dict[str, object] = {}
    for key, value in carried.items():
        if key.startswith(OF_THE_FILE):
            continue
        if value is not None:
            kept[key] = Typed(ValueType[types[key]], value) if key in types else value
        elif key in vocabulary:
            kept[key] = vocabulary[key]
    return kept


def _read_back(
    keys: Mapping[str, object], config: ModelConfig, tensors: Sequence[LazyTensor], file: str
) -> TokenizerSpec | None:
    """The tokenizer that `keys` say; raises FormatError if they do not say `config`."""
    data = b"".join(encode_pair(key, value, "<") for key, value in keys.items())
    metadata = read_metadata(Cursor(memoryview(data), file), len(keys))
    infos = [TensorInfo(t.name, t.shape, t.dtype, t.nbytes, 0, 0) for t in tensors]
    try:
        prove_alike(without_factors(config, {t.name for t in tensors}), read_config(metadata, infos), f"{file} as GGUF")
    except Incomplete as reason:
        raise FormatError(f"{file}: {reason}") from None
    return read_tokenizer(metadata)
