"""A model's configuration as GGUF keys: the inverse of `config`, `scaling` and `families`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs

from realizar.conversion.likeness import scales
from realizar.model import SLIDING, ModelConfig, RopeScaling
from realizar.tensors import LazyTensor
from realizar_gguf.config import NUMBERS, POOLING_TYPES, REQUIRED, SIZES, TRUTHS
from realizar_gguf.families import Family, architecture_of
from realizar_gguf.gguf_tensors import without_factors


def config_keys(config: ModelConfig, tensors: Sequence[LazyTensor]) -> dict[str, object]:
    """general.architecture and the keys of that architecture, as Python values.

    tensors: as GGUF names them; rotary factors among them stand for themselves.
    """
    name, family = architecture_of(config)
    config = without_factors(config, {tensor.name for tensor in tensors})
    keys: dict[str, object] = {key: getattr(config, field) for key, field in REQUIRED.items()}
    keys["vocab_size"] = config.vocab_size
    keys["attention.head_count_kv"] = config.num_key_value_heads
    if config.head_dim * config.num_attention_heads != config.hidden_size:
        keys |= {"attention.key_length": config.head_dim, "attention.value_length": config.head_dim}
    keys |= _changed(config, family) | _rotary(config) | _sliding(config, family)
    norm, epsilon = ("layer_norm", "layer_norm_eps") if family.layer_norm else ("layer_norm_rms", "rms_norm_eps")
    keys[f"attention.{norm}_epsilon"] = getattr(config, epsilon)
    keys |= family.written(config)
    if config.pooling_type is not None:
        keys["pooling_type"] = POOLING_TYPES.index(config.pooling_type)
    found: dict[str, object] = {"general.architecture": name}
    if config.type_vocab_size is not None:
        found["tokenizer.ggml.token_type_count"] = config.type_vocab_size
    return found | {f"{name}.{key}": value for key, value in keys.items()}


def _changed(config: ModelConfig, family: Family) -> dict[str, object]:
    """Fields that have a key of their own, where they differ from what a reader takes without it."""
    usual = {field.name: field.default for field in attrs.fields(ModelConfig)} | dict(family.values)
    fields = {**SIZES, **NUMBERS, **TRUTHS}
    changed = {key: getattr(config, name) for key, name in fields.items() if getattr(config, name) != usual[name]}
    return {key: value for key, value in changed.items() if value is not None}


def _rotary(config: ModelConfig) -> dict[str, object]:
    keys: dict[str, object] = {}
    if config.rotary_dim not in (None, config.head_dim):
        keys["rope.dimension_count"] = config.rotary_dim
    if config.rope_theta != 10000.0:
        keys["rope.freq_base"] = config.rope_theta
    if config.rope_local_base_freq is not None:
        keys["rope.freq_base_swa"] = config.rope_local_base_freq
    return keys | (_scaling(config.rope_scaling) if config.rope_scaling and scales(config) else {})


def _scaling(scaling: RopeScaling) -> dict[str, object]:
    keys = {
        "rope.scaling.type": scaling.rope_type, "rope.scaling.factor": scaling.factor,
        "rope.scaling.original_context_length": scaling.original_max_position_embeddings,
    }  # fmt: skip
    usual = RopeScaling(scaling.rope_type)
    for key, name in (("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")):
        if getattr(scaling, name) != getattr(usual, name):
            keys[f"rope.scaling.{key}"] = getattr(scaling, name)
    if scaling.attention_factor is not None:
        grown = 0.1 * math.log(max(1.0, scaling.factor)) + 1 if scaling.rope_type == "yarn" else 1.0
        keys["rope.scaling.attn_factor"] = scaling.attention_factor / grown
    return {key: value for key, value in keys.items() if value is not None}


def _sliding(config: ModelConfig, family: Family) -> dict[str, Any]:
    """The window, and which layers have it unless the family says so."""
    windows = [config.window(i) for i in range(config.num_hidden_layers)]
    if not any(windows):
        return {"attention.sliding_window": 0} if "sliding_window" in family.values else {}
    keys: dict[str, Any] = {"attention.sliding_window": config.sliding_window}
    slides = [config.kind_of_layer(i) == SLIDING for i in range(config.num_hidden_layers)]
    period = family.sliding_pattern
    usual = [bool((i + 1) % period) if period else True for i in range(config.num_hidden_layers)]
    return keys if slides == usual else {**keys, "attention.sliding_window_pattern": slides}
