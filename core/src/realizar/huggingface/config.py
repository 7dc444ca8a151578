"""config.json as a ModelConfig, for the llama family."""

from __future__ import annotations

from typing import Any

from realizar.errors import ModelError
from realizar.model import ModelConfig, structure_config

_KNOWN = (
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta", "hidden_act",
    "sliding_window",
)  # fmt: skip


def read_hf_config(values: dict[str, Any], source: str) -> ModelConfig:
    """The configuration; raises ModelError naming what is missing, mistyped or of another family."""
    if values.get("model_type") not in ("llama", "mistral"):
        raise ModelError(f"{source}: model_type {values.get('model_type')!r} is not read; known: llama, mistral")
    known = {key: values[key] for key in _KNOWN if values.get(key) is not None}
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ModelError(f"{source}: found rope parameters {rope!r}, expected an object")
    if "rope_theta" in rope:
        known["rope_theta"] = rope["rope_theta"]
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type != "default":
        known["rope_scaling"] = {"rope_type": rope_type} | {k: v for k, v in rope.items() if k != "rope_theta"}
    known.setdefault("num_key_value_heads", known.get("num_attention_heads"))
    if "head_dim" not in known and {"hidden_size", "num_attention_heads"} <= known.keys():
        known["head_dim"] = _quotient(known["hidden_size"], known["num_attention_heads"], source)
    unknown = sorted(set(values) - set(_KNOWN) - {"rope_parameters", "rope_scaling"})
    return structure_config(known, source, unknown)


def _quotient(hidden_size: Any, num_heads: Any, source: str) -> int:
    are_sizes = isinstance(hidden_size, int) and isinstance(num_heads, int) and num_heads > 0
    if not are_sizes or hidden_size % num_heads:
        raise ModelError(f"{source}: found hidden_size {hidden_size!r} for num_attention_heads {num_heads!r}")
    return int(hidden_size // num_heads)
