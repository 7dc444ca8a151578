"""The JSON object behind the header. Source: aprender `src/format/v2/header_impl.rs`, AprV2Metadata.

aprender has one spelling of each key; realizar's loaders also took others. A file with two spellings of one fact must
say the same twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from realizar.errors import FormatError
from realizar.huggingface.json_file import parse_json
from realizar.huggingface.json_object import JsonObject
from realizar_apr.header import Header
from realizar_apr.variants import malformed

FIELDS = {
    "hidden_size": ("hidden_size", "hidden_dim", "d_model", "n_embd"),
    "num_hidden_layers": ("num_layers", "n_layers", "num_hidden_layers", "n_layer"),
    "num_attention_heads": ("num_heads", "n_heads", "num_attention_heads", "n_head"),
    "num_key_value_heads": ("num_kv_heads", "n_kv_heads", "num_key_value_heads"),
    "vocab_size": ("vocab_size", "n_vocab"),
    "intermediate_size": ("intermediate_size", "ffn_dim", "intermediate_dim", "n_inner"),
    "max_position_embeddings": ("max_position_embeddings", "max_seq_len", "context_length", "n_ctx"),
    "rope_theta": ("rope_theta",),
    "rms_norm_eps": ("rms_norm_eps", "layer_norm_eps", "norm_eps"),
    "head_dim": ("head_dim",),
    "num_experts": ("num_experts",),
    "num_experts_per_tok": ("num_experts_per_tok",),
    "moe_intermediate_size": ("moe_intermediate_size",),
}
"""Field of ModelConfig -> its key, then the other spellings of the key that are read."""

LAYOUT_KEY, LAYOUT = "realizar.layout", 1
"""Says that tensors have the names, order and values of `LazyTensor`, and that `realizar.*` complete the rest."""

MAX_CONTAINERS = 1 << 18
"""Objects and arrays, brackets inside texts counted too: a shape for each tensor, and whatever tokens spell."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_metadata(data: memoryview, header: Header, file: str) -> JsonObject:
    """The metadata; raises FormatError if it is not one JSON object in UTF-8 within bounds."""
    start = header.metadata_offset
    raw = bytes(data[start : start + header.metadata_nbytes])
    source = f"{file}: offset {start}: metadata"
    if (containers := raw.count(b"[") + raw.count(b"{")) > MAX_CONTAINERS:
        raise malformed(file, start, f"{containers} brackets in the metadata", f"at most {MAX_CONTAINERS}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed(file, start + error.start, f"byte 0x{raw[error.start]:02x} in the metadata", "UTF-8") from None
    values = parse_json(text, source)
    if _SURROGATE.search(text):
        _prove_unicode(values, source)
    return JsonObject(values, source)


def _prove_unicode(value: Any, source: str) -> None:
    """Escapes may spell halves of characters, which no text can hold."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise FormatError(f"{source}: found half a surrogate pair, expected Unicode text") from None
    elif isinstance(value, list):
        for item in value:
            _prove_unicode(item, source)
    elif isinstance(value, dict):
        for key, item in value.items():
            _prove_unicode(key, source)
            _prove_unicode(item, source)


def is_ours(metadata: JsonObject) -> bool:
    """Whether realizar wrote the file; raises FormatError for a layout that is newer than this reader."""
    layout = metadata.get(LAYOUT_KEY, int)
    if layout is not None and layout != LAYOUT:
        raise FormatError(
            f"{metadata.source}: found {LAYOUT_KEY} {layout}, expected {LAYOUT}; "
            f"another version of realizar wrote the file, and reads it"
        )
    return layout is not None


def one_spelling(values: Mapping[str, Any], names: tuple[str, ...], source: str) -> Any:
    """The value under any of `names`, None for none; raises FormatError if they contradict each other."""
    found = {name: values[name] for name in names if values.get(name) is not None}
    first = next(iter(found.values()), None)
    if any(value != first for value in found.values()):
        said = ", ".join(f"{name} {value!r}"[:60] for name, value in found.items())
        raise FormatError(f"{source}: found {said}, expected one value, for they are spellings of {names[0]}")
    return first
