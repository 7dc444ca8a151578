"""From a path to a ModelFile: parse the shards, then give everything its Hugging Face name."""

from __future__ import annotations

from pathlib import Path

from realizar.model import ModelConfig, ModelFile
from realizar.tensors import Array, LazyTensor
from realizar_gguf.config import Incomplete, read_config
from realizar_gguf.cursor import malformed
from realizar_gguf.metadata import Metadata
from realizar_gguf.names import canonical_name
from realizar_gguf.rotary import half_split, interleaved_heads
from realizar_gguf.shard import Shard
from realizar_gguf.splits import open_shards
from realizar_gguf.tensor_index import TensorInfo
from realizar_gguf.vocabulary import read_tokenizer


def read_gguf(path: Path) -> ModelFile:
    """The model of which `path` is the file, or any one of several; raises FormatError for a bad file.

    metadata: the file's keys, and "gguf.version", "gguf.byteorder".
    """
    shards = open_shards(path)

    def close() -> None:
        for shard in shards:
            shard.file.close()

    try:
        metadata = shards[0].metadata
        tensors = _lazy_tensors(shards, metadata)
        header = shards[0].header
        values: dict[str, object] = {**metadata, "gguf.version": header.version, "gguf.byteorder": header.byteorder}
        config: ModelConfig | None = None
        no_config = ""
        try:
            config = read_config(metadata, [info for shard in shards for info in shard.tensors])
        except Incomplete as reason:
            no_config = str(reason)
        return ModelFile(path, "gguf", config, tensors, read_tokenizer(metadata), values, no_config, close)
    except BaseException:
        close()
        raise


def _lazy_tensors(shards: list[Shard], metadata: Metadata) -> dict[str, LazyTensor]:
    tensors: dict[str, LazyTensor] = {}
    for shard in shards:
        for info in shard.tensors:
            tensor = _lazy_tensor(shard, info, metadata)
            if tensor.name in tensors:
                found = f"tensor {info.name!r}, which is {tensor.name} like {tensors[tensor.name].source}"
                raise malformed(shard.metadata.file, info.described_at, found, "each tensor once")
            tensors[tensor.name] = tensor
    return tensors


def _lazy_tensor(shard: Shard, info: TensorInfo, metadata: Metadata) -> LazyTensor:
    num_heads = interleaved_heads(info, metadata)

    def read() -> Array:
        stored = shard.read(info)
        if num_heads is None:
            return stored
        ordered = half_split(stored, num_heads)
        ordered.flags.writeable = False
        return ordered

    def release() -> None:
        shard.file.release(info.offset, info.nbytes)

    source = f"{shard.metadata.file}: {info.name}"
    return LazyTensor(canonical_name(info.name), info.shape, info.dtype, source, read, release)
