"""Rotary positions among GGUF's keys. Source: GGUF specification, "RoPE" and "Scaling"."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Any

from realizar_gguf.keys import Keys

_NUMBERS = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}


def read_rotary(keys: Keys, head_dim: int, tensors: Container[str]) -> dict[str, Any]:
    """rope_theta, rotary_dim and rope_scaling as far as the file gives them."""
    values: dict[str, Any] = {}
    if (theta := keys.number("rope.freq_base")) is not None:
        values["rope_theta"] = theta
    if (theta := keys.number("rope.freq_base_swa")) is not None:
        values["rope_local_base_freq"] = theta
    if (rotary_dim := keys.size("rope.dimension_count")) is not None:
        if rotary_dim > head_dim or rotary_dim % 2:
            raise keys.error("rope.dimension_count", f"an even number, at most the head's {head_dim}")
        values["rotary_dim"] = rotary_dim
    if (scaling := _rope_scaling(keys, tensors)) is not None:
        values["rope_scaling"] = scaling
    return values


def _rope_scaling(keys: Keys, tensors: Container[str]) -> dict[str, Any] | None:
    """The fields of RopeScaling.

    A factor without a type means linear, as does the older key rope.scale_linear; tensors of factors mean longrope.
    """
    kind = keys.string("rope.scaling.type")
    factor = keys.number("rope.scaling.factor") or keys.number("rope.scale_linear")
    original = keys.size("rope.scaling.original_context_length")
    attention_factor = keys.number("rope.scaling.attn_factor")
    keys.ignore("rope.scaling.finetuned")
    if kind is None and "rope_factors_long.weight" in tensors:
        kind = "longrope"
    if kind == "none" or (kind is None and factor is None):
        return None
    scaling: dict[str, Any] = {"rope_type": kind or "linear", "factor": factor or 1.0}
    scaling["original_max_position_embeddings"] = original
    for key, name in _NUMBERS.items():
        if (number := keys.number(f"rope.scaling.{key}")) is not None:
            scaling[name] = number
    if attention_factor is not None:
        # For yarn it comes on top of the logarithm of the factor, which Hugging Face's field includes.
        grown = 0.1 * math.log(max(1.0, scaling["factor"])) + 1 if kind == "yarn" else 1.0
        scaling["attention_factor"] = attention_factor * grown
    return scaling
