"""From a path to a ModelFile: parse the shards, then give everything its Hugging Face name."""

from __future__ import annotations

from pathlib import Path

from realizar.derived import as_row, half_split, head_by_head, split_fused
from realizar.errors import FormatError, ModelError
from realizar.model import ModelConfig, ModelFile
from realizar.tensors import Array, LazyTensor
from realizar_gguf.config import read_config
from realizar_gguf.cursor import malformed
from realizar_gguf.encoding import unusual_types
from realizar_gguf.families import Family, family_of
from realizar_gguf.keys import Incomplete
from realizar_gguf.metadata import Metadata
from realizar_gguf.names import canonical_name
from realizar_gguf.rotary import interleaved_heads
from realizar_gguf.shard import Shard
from realizar_gguf.splits import open_shards
from realizar_gguf.tensor_index import TensorInfo
from realizar_gguf.vocabulary import read_tokenizer


def read_gguf(path: Path) -> ModelFile:
    """The model of which `path` is the file, or any one of several; raises FormatError for a bad file.

    metadata: the file's keys, and "gguf.version", "gguf.byteorder"; "gguf.types" has the value types, by key, that
    the Python values do not show.
    """
    shards = open_shards(path)

    def close() -> None:
        for shard in shards:
            shard.file.close()

    try:
        metadata, header = shards[0].metadata, shards[0].header
        infos = [info for shard in shards for info in shard.tensors]
        tensors = _lazy_tensors(shards, family_of(metadata, {info.name for info in infos}))
        values: dict[str, object] = {**metadata, "gguf.version": header.version, "gguf.byteorder": header.byteorder}
        if types := unusual_types(metadata):
            values["gguf.types"] = types
        config: ModelConfig | None = None
        no_config = ""
        try:
            config = read_config(metadata, infos)
            tensors = split_fused(config, tensors)
        except Incomplete as reason:
            no_config = str(reason)
        except ModelError as error:
            raise FormatError(str(error)) from error
        return ModelFile(path, "gguf", config, tensors, read_tokenizer(metadata), values, no_config, close)
    except BaseException:
        close()
        raise


def _lazy_tensors(shards: list[Shard], family: Family) -> dict[str, LazyTensor]:
    tensors: dict[str, LazyTensor] = {}
    for shard in shards:
        for info in shard.tensors:
            tensor = _lazy_tensor(shard, info, shards[0].metadata, family)
            if tensor.name in tensors:
                found = f"tensor {info.name!r}, which is {tensor.name} like {tensors[tensor.name].source}"
                raise malformed(shard.metadata.file, info.described_at, found, "each tensor once")
            tensors[tensor.name] = tensor
    return tensors


def _lazy_tensor(shard: Shard, info: TensorInfo, metadata: Metadata, family: Family) -> LazyTensor:
    def read() -> Array:
        return shard.read(info)

    def release() -> None:
        shard.file.release(info.offset, info.nbytes)

    name = canonical_name(info.name, family)
    tensor = LazyTensor(name, info.shape, info.dtype, f"{shard.metadata.file}: {info.name}", read, release)
    if (num_heads := interleaved_heads(info, metadata, family)) is not None:
        is_norm = name.endswith("_norm.weight")
        return head_by_head(tensor, num_heads, half_split) if is_norm else half_split(tensor, num_heads)
    if name.endswith(".shared_expert_gate.weight") and len(info.shape) == 1:
        return as_row(tensor)
    return tensor
