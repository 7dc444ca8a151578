"""Which file of a directory holds the model, and where the shards of an index lie.

Names: huggingface_hub `constants.py`; transformers `utils/__init__.py`, SAFE_WEIGHTS_NAME and SAFE_WEIGHTS_INDEX_NAME.
"""

from __future__ import annotations

import re
from pathlib import Path

from realizar.errors import FormatError

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_SHARD = re.compile(r"(?P<prefix>.*)-[0-9]{5}-of-[0-9]{5}\.safetensors", re.DOTALL)


def model_file(folder: Path) -> Path | None:
    """The file to open for a directory: model.safetensors, its index, or the only .safetensors or index there is."""
    for name in (f"model{SUFFIX}", f"model{INDEX_SUFFIX}"):
        if (folder / name).is_file():
            return folder / name
    for suffix in (INDEX_SUFFIX, SUFFIX):
        found = [path for path in folder.iterdir() if path.name.endswith(suffix) and path.is_file()]
        if len(found) == 1:
            return found[0]
    return None


def entry_point(path: Path) -> Path:
    """The .safetensors file or index that `path` means; a shard beside its index means the index.

    Raises FormatError for a directory without one.
    """
    if path.is_dir():
        found = model_file(path)
        if found is None:
            raise FormatError(f"{path}: found {_instead(path)}, expected model{SUFFIX} or model{INDEX_SUFFIX}")
        return found
    match = _SHARD.fullmatch(path.name)
    index = path.with_name(f"{match['prefix']}{INDEX_SUFFIX}") if match else path
    return index if index.is_file() else path


def _instead(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(SUFFIX))
    if names:
        return f"{len(names)} files ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}); name one of them"
    pickles = [name for name in PICKLES if (folder / name).is_file()]
    if pickles:
        return f"only {pickles[0]}, a pickle, which can run any code and is not read; save the model as Safetensors"
    return "no model"


def shard_path(folder: Path, name: str, index: str) -> Path:
    """The file `name` of an index, proven to lie in `folder`, or in the blobs of the Hugging Face cache it is in.

    There `models--ORG--NAME/snapshots/REVISION/.../FILE` is a link into `models--ORG--NAME/blobs`.
    """
    if not name.endswith(SUFFIX) or set(name) & set("/\\:\0"):
        raise FormatError(f"{index}: found shard name {name!r}, expected NAME{SUFFIX} in the same directory")
    path = folder / name
    real, home = path.resolve(), folder.resolve()
    caches = (parent.parent for parent in home.parents if parent.name == "snapshots")
    blobs = [cache / "blobs" for cache in caches if cache.name.startswith("models--")]
    if real.parent not in (home, *blobs):
        raise FormatError(f"{index}: found shard {name!r}, a link to {real}, expected a file inside {folder}")
    if not path.is_file():
        raise FormatError(
            f"{index}: found no file {name}, expected it in the same directory; is the download complete?"
        )
    return path
