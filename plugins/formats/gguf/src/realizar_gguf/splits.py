"""Models in several files: NAME-00001-of-00003.gguf and so on, all in one directory.

The first file holds the metadata of the model; each has split.no (from 0), split.count and split.tensors.count.
Source: llama.cpp `tools/gguf-split/README.md` and `include/llama.h`, llama_split_path.
"""

from __future__ import annotations

import re
from pathlib import Path

from realizar_gguf.metadata import Metadata
from realizar_gguf.shard import Shard, open_shard

MAX_SHARDS = 1024
_NAME = re.compile(r"(?P<prefix>.*)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.DOTALL)


def shard_path(path: Path, number: int, count: int) -> Path:
    """The file of shard `number` (from 1) of `count`; `path` is the whole model's NAME.gguf or any shard's."""
    match = _NAME.fullmatch(path.name)
    prefix = match["prefix"] if match else path.name.removesuffix(".gguf")
    return path.with_name(f"{prefix}-{number:05d}-of-{count:05d}.gguf")


def open_shards(path: Path) -> list[Shard]:
    """The model of which `path` is a part, in the order of its files; raises FormatError and leaves nothing open."""
    shards = [open_shard(path)]
    try:
        metadata = shards[0].metadata
        count = metadata.integer("split.count", 0, MAX_SHARDS) or 1
        if count == 1:
            return shards
        own = _number_in_name(path, metadata, count)
        siblings = [shard_path(path, number, count) for number in range(1, count + 1)]
        _prove_present(metadata, siblings)
        opened: list[Shard] = []
        for number, sibling in enumerate(siblings, start=1):
            shard = shards[0] if number == own else open_shard(sibling)
            if shard is not shards[0]:
                shards.append(shard)
            _check_keys(shard.metadata, number, count)
            opened.append(shard)
        _check_tensors(opened)
    except BaseException:
        for shard in shards:
            shard.file.close()
        raise
    return opened


def _number_in_name(path: Path, metadata: Metadata, count: int) -> int:
    match = _NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count or not 1 <= int(match["number"]) <= count:
        raise metadata.error("split.count", f"a file named NAME-NNNNN-of-{count:05d}.gguf")
    return int(match["number"])


def _prove_present(metadata: Metadata, siblings: list[Path]) -> None:
    missing = [sibling.name for sibling in siblings if not sibling.is_file()]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise metadata.error("split.count", f"also {shown} in the same directory")


def _check_keys(metadata: Metadata, number: int, count: int) -> None:
    for key, expected in (("split.no", number - 1), ("split.count", count)):
        found = metadata.integer(key, 0, MAX_SHARDS)
        if found is None:
            raise metadata.missing(key, f"{expected}, as the file's name says")
        if found != expected:
            raise metadata.error(key, f"{expected}, as the file's name says")


def _check_tensors(shards: list[Shard]) -> None:
    first, key = shards[0].metadata, "split.tensors.count"
    total = sum(len(shard.tensors) for shard in shards)
    found = first.integer(key, 0, (1 << 31) - 1)
    if found is None:
        raise first.missing(key, f"{total}, the tensors in all {len(shards)} files")
    if found != total:
        raise first.error(key, f"{total}, the tensors in all {len(shards)} files")
