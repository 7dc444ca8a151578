"""From a path to a ModelFile: map the tensors, then read the JSON files beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from realizar.errors import ModelError
from realizar.huggingface import canonical_tensors, read_hf_config
from realizar.huggingface.directory import HuggingFaceDirectory
from realizar.model import ModelConfig, ModelFile
from realizar.tensors import LazyTensor
from realizar_safetensors.block_scales import apply_scales
from realizar_safetensors.index import open_shards
from realizar_safetensors.model_files import entry_point


def read_model(path: Path) -> ModelFile:
    """The model at `path`: a file, an index, any shard beside its index, or a directory; raises FormatError.

    Configuration, tokenizer and chat templates come from the directory that the files lie in.
    metadata: the first file's __metadata__, and config.json and generation_config.json under their names.
    """
    entry = entry_point(path)
    shards = open_shards(entry)

    def close() -> None:
        for shard in shards:
            shard.file.close()

    try:
        tensors = {info.name: shard.lazy(info) for shard in shards for info in shard.header.tensors}
        folder = HuggingFaceDirectory(entry.parent)
        config, no_config = None, "there is no config.json beside it"
        if folder.config:
            config, tensors, no_config = _configured(folder, tensors)
        tokenizer, no_tokenizer = folder.tokenizer()
        metadata: dict[str, object] = {**shards[0].header.metadata, **folder.metadata()}
        return ModelFile(path, "safetensors", config, tensors, tokenizer, metadata, no_config, close, no_tokenizer)
    except BaseException:
        close()
        raise


def _configured(
    folder: HuggingFaceDirectory, tensors: dict[str, LazyTensor]
) -> tuple[ModelConfig | None, dict[str, LazyTensor], str]:
    """Configuration and tensors as numbers, or the reason why there is none: the file can still be looked into."""
    source = str(folder.path / "config.json")
    try:
        described: dict[str, Any] = folder.model_config()
        quantization = described.pop("quantization_config", None)
        config = read_hf_config(described, source)
        return config, canonical_tensors(config, apply_scales(tensors, quantization, source)), ""
    except ModelError as error:
        return None, tensors, str(error)
