"""GGUF's tensor names in Hugging Face's terms."""

from __future__ import annotations

import re

from realizar.ggml_names import LAYER as _LAYER
from realizar.ggml_names import WHOLE as _WHOLE
from realizar_gguf.families import Family

LAYER_NAME = re.compile(r"blk\.(0|[1-9][0-9]{0,4})\.([a-z0-9_]+)\.(weight|bias)")
_WHOLE_NAME = re.compile(r"([a-z_]+)\.(weight|bias)")


def canonical_name(name: str, family: Family | None = None) -> str:
    """The Hugging Face name of a GGUF tensor; a name without one stays as it is."""
    if match := LAYER_NAME.fullmatch(name):
        layer, part, kind = match.groups()
        known = (family.names if family else {}).get(part) or _LAYER.get(part)
        return f"model.layers.{layer}.{known}.{kind}" if known else name
    if match := _WHOLE_NAME.fullmatch(name):
        part, kind = match.groups()
        return f"{_WHOLE[part]}.{kind}" if part in _WHOLE else name
    return name
