"""Which files of a Hugging Face repository make the model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from realizar.errors import StoreError

_SHARD = re.compile(r"(?P<prefix>[^/]+)-[0-9]{5}-of-(?P<count>[0-9]{5})\.safetensors")
_INDEX = ".safetensors.index.json"
_COMPANION = re.compile(
    r"[^/]+\.(json|jinja|model)|vocab\.txt|merges\.txt"  # configuration, tokenizer, chat templates
    r"|additional_chat_templates/[^/]+\.jinja"
    r"|[0-9]+_[A-Za-z]+/(config\.json|model\.safetensors)"  # modules of sentence-transformers
)
_MAX_NAMED = 20


def choose(names: Collection[str], file: str, where: str) -> tuple[list[str], str]:
    """The files to fetch, and the one of them to open (empty: their folder).

    file: the one that was named; otherwise Safetensors weights with what belongs to them, or the only GGUF file.
    Raises StoreError that lists what is there if that leaves a choice.
    """
    if file:
        if file in names:
            return [file], file
        close = difflib.get_close_matches(file, names, n=3, cutoff=0.5) or _models(names)
        raise StoreError(f"{where}: has no file {file!r}; it has {_listed(close)}")
    weights = _weights(names, where)
    if weights and "config.json" in names:
        others = [name for name in names if _COMPANION.fullmatch(name) and not name.endswith(_INDEX)]
        return sorted({*weights, *others}), ""
    ggufs = sorted(name for name in names if name.lower().endswith(".gguf"))
    if len(ggufs) == 1:
        return ggufs, ggufs[0]
    if ggufs:
        raise StoreError(f"{where}: has {len(ggufs)} GGUF files; name one, as in {where}/{ggufs[0]}: {_listed(ggufs)}")
    raise StoreError(
        f"{where}: has neither GGUF files nor config.json with model.safetensors or its index; "
        f"it has {_listed(_models(names))}"
    )


def _weights(names: Collection[str], where: str) -> list[str]:
    """model.safetensors, or an index and its shards, or the only .safetensors file: as a directory is read."""
    if "model.safetensors" in names:
        return ["model.safetensors"]
    indexes = [name for name in names if name.endswith(_INDEX) and "/" not in name]
    if f"model{_INDEX}" in indexes:
        indexes = [f"model{_INDEX}"]
    if len(indexes) == 1:
        prefix = indexes[0].removesuffix(_INDEX)
        matches = [match for name in names if (match := _SHARD.fullmatch(name)) and match["prefix"] == prefix]
        if not matches or len(matches) != int(matches[0]["count"]):
            expected = matches[0]["count"] if matches else "some"
            raise StoreError(f"{where}: {len(matches)} shards of {indexes[0]} are there, expected {expected}")
        return [*indexes, *(match[0] for match in matches)]
    alone = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    return alone if len(alone) == 1 else []


def _models(names: Collection[str]) -> list[str]:
    suffixes = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".onnx")
    return sorted(name for name in names if name.lower().endswith(suffixes)) or sorted(names)


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_MAX_NAMED]) or "nothing"
    return f"{shown} and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else shown
