"""Models in several files: an index says which tensor is in which.

Source: transformers, `save_pretrained`: an object with weight_map, from tensor to file name, and free metadata.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from realizar.errors import FormatError
from realizar.huggingface.json_file import read_json
from realizar_safetensors.model_files import INDEX_SUFFIX, shard_path
from realizar_safetensors.shard import Shard, open_shard

MAX_SHARDS = 1024
MAX_INDEX_NBYTES = 1 << 26


def open_shards(path: Path) -> list[Shard]:
    """The files of a model, given its one file or its index; raises FormatError and leaves nothing open."""
    if not path.name.endswith(INDEX_SUFFIX):
        return [open_shard(path)]
    wanted = _read_index(path)
    paths = {name: shard_path(path.parent, name, path.name) for name in wanted}
    shards: list[Shard] = []
    try:
        for name, names in wanted.items():
            shards.append(open_shard(paths[name]))
            _prove_names(shards[-1], names, path.name)
    except BaseException:
        for shard in shards:
            shard.file.close()
        raise
    return shards


def _read_index(path: Path) -> dict[str, set[str]]:
    """Tensor names by file name, files in order of their names."""
    values = read_json(path, MAX_INDEX_NBYTES)
    weight_map = values.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise FormatError(f"{path.name}: found no weight_map, expected an object from tensor name to file name")
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for tensor, name in weight_map.items():
        wanted[name].add(tensor)
    if len(wanted) > MAX_SHARDS:
        raise FormatError(f"{path.name}: found {len(wanted)} files in weight_map, expected at most {MAX_SHARDS}")
    return dict(sorted(wanted.items()))


def _prove_names(shard: Shard, wanted: set[str], index: str) -> None:
    """Exactly the tensors that the index says, so that none is there twice."""
    found = {info.name for info in shard.header.tensors}
    for names, problem in ((wanted - found, "lacks"), (found - wanted, "also holds")):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise FormatError(
                f"{shard.file.path.name}: found a file that {problem} {shown}, expected the {len(wanted)} tensors that "
                f"{index} says it has; are all files of the same download?"
            )
