"""GGUF's tensor names in Hugging Face's terms."""

from __future__ import annotations

import re

from realizar.errors import FormatError
from realizar.ggml_names import LAYER as _LAYER
from realizar.ggml_names import WHOLE as _WHOLE
from realizar_gguf.families import Family

LAYER_NAME = re.compile(r"blk\.(0|[1-9][0-9]{0,4})\.([a-z0-9_]+)\.(weight|bias)")
_WHOLE_NAME = re.compile(r"([a-z_]+)\.(weight|bias)")


def canonical_name(name: str, family: Family | None = None) -> str:
    """The Hugging Face name of a GGUF tensor; a name without one stays as it is.

    Tensors of an importance matrix are named after the weights: NAME.in_sum2, NAME.counts.
    """
    for suffix in (".in_sum2", ".counts"):
        if name.endswith(suffix):
            return canonical_name(name.removesuffix(suffix), family) + suffix
    if match := LAYER_NAME.fullmatch(name):
        layer, part, kind = match.groups()
        known = (family.names if family else {}).get(part) or _LAYER.get(part)
        return f"model.layers.{layer}.{known}.{kind}" if known else name
    if match := _WHOLE_NAME.fullmatch(name):
        part, kind = match.groups()
        return f"{_WHOLE[part]}.{kind}" if part in _WHOLE else name
    return name


def gguf_name(name: str, family: Family) -> str:
    """The inverse of `canonical_name`; raises FormatError for a tensor that the family has no name for."""
    if match := re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
        layer, part, kind = match.groups()
        parts = {known: own for own, known in _LAYER.items()} | {known: own for own, known in family.names.items()}
        found = f"blk.{layer}.{parts[part]}.{kind}" if part in parts else name
    else:
        part, _, kind = name.rpartition(".")
        found = next((f"{own}.{kind}" for own, known in _WHOLE.items() if known == part), name)
    if canonical_name(found, family) != name or (found == name and name.startswith(("model.", "lm_head."))):
        raise FormatError(f"tensor {name!r} has no name in GGUF files of {family.model_type} models")
    return found
