"""Whether two configurations describe the same computation, however they spell it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from realizar.errors import FormatError
from realizar.model import ModelConfig

TOLERANCE = 1e-6
"""Relative; formats keep numbers in float32."""

_BY_EFFECT = frozenset(
    "model_type rotary_dim query_pre_attn_scalar attention_multiplier sliding_window layer_types no_rope_layers "
    "sparse_layers tie_word_embeddings norm_topk_prob rope_scaling unknown".split()
)
"""Fields of which only what follows from them counts; ties show in the tensors."""


def prove_alike(config: ModelConfig, written: ModelConfig, where: str) -> None:
    """Raises FormatError naming the fields that `written`, as `where` says it, has otherwise."""
    wanted, found = _effects(config), _effects(written)
    unlike = [f"{key} {wanted[key]!r} as {found[key]!r}" for key in wanted if not _alike(wanted[key], found[key])]
    if unlike:
        raise FormatError(f"{where} would hold {'; '.join(unlike)}, so this {config.model_type} model is not written")


def scales(config: ModelConfig) -> bool:
    """Whether rope_scaling changes anything within max_position_embeddings; type "dynamic" does not."""
    return config.rope_scaling is not None and config.rope_scaling.rope_type != "dynamic"


def _effects(config: ModelConfig) -> dict[str, Any]:
    """Fields, and the functions of fields that decide what is computed."""
    layers = range(config.num_hidden_layers)
    effects = {field.name: getattr(config, field.name) for field in attrs.fields(ModelConfig)}
    effects = {name: value for name, value in effects.items() if name not in _BY_EFFECT}
    return {
        **effects,
        "rope_scaling": _scaling(config),
        "rotary_dim": config.rotary_dim or config.head_dim,
        "attention_scale": config.attention_scale,
        "windows": tuple(config.window(i) for i in layers),
        "rotates": tuple(config.rotates(i) for i in layers),
        "is_sparse": tuple(config.is_sparse(i) for i in layers),
        "norm_topk_prob": config.norm_topk_prob if config.num_experts else None,
        "rope_local_base_freq": config.rope_local_base_freq if any(config.window(i) for i in layers) else None,
    }


def _scaling(config: ModelConfig) -> dict[str, Any] | None:
    return attrs.asdict(config.rope_scaling) if config.rope_scaling and scales(config) else None


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=TOLERANCE)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(_alike(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    return bool(one == other)
