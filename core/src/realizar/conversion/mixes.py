"""Which type each weight of a quantized model gets.

The rules are llama.cpp's (`src/llama-quant.cpp`, as of 2026), by its names, so that Q4_K_M is what people know by that
name: more bits for values and down projections, for the first and last layers, for the output layer. They look at the
place and size of a weight, not at the family (llama.cpp treats Falcon apart; here it is quantized as the others are).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import attrs

from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.model import ModelConfig
from realizar.tensors import LazyTensor

MIXES = {
    "Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q5_0": "Q5_0", "Q5_1": "Q5_1", "Q8_0": "Q8_0", "IQ4_NL": "IQ4_NL",
    "MXFP4": "MXFP4", "Q2_K": "Q2_K", "Q2_K_S": "Q2_K", "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K",
    "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K", "Q5_K_S": "Q5_K", "Q5_K_M": "Q5_K", "Q6_K": "Q6_K",
}  # fmt: skip
"""Name of a mix to the type of most of its weights."""

ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

FALLBACKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""For rows that are no whole super-blocks; those that are no whole blocks of 32 either become F16."""

KEPT = re.compile(r"norm\.|embed_positions|token_type|\.mlp\.gate\.|shared_expert_gate|rope_f|layernorm")
"""Weights that stay as they are: small ones, and the routers of experts."""

_PLACE = re.compile(r"model\.layers\.(\d+)\..*?(\w+)\.weight")


@attrs.frozen
class _Weight:
    """Where a weight is: its layer of so many (counted among its like), and what the model has."""

    part: str
    layer: int
    num_layers: int
    config: ModelConfig
    has_importance: bool

    @property
    def needs_more_bits(self) -> bool:
        """In the first or last eighth of the layers, or the third of three between."""
        first, last = self.num_layers // 8, 7 * self.num_layers // 8
        return self.layer < first or self.layer >= last or (self.layer - first) % 3 == 2

    def first(self, share: int) -> bool:
        """In the first 1 / share of the layers."""
        return self.layer < self.num_layers // share

    @property
    def has_few_values(self) -> bool:
        return self.config.num_attention_heads // self.config.num_key_value_heads >= 4

    @property
    def has_eight_experts(self) -> bool:
        return self.config.num_experts == 8


def _values(weight: _Weight, mix: str, kind: str) -> str:
    if weight.has_eight_experts:
        return "Q8_0"
    more: dict[str, str] = {
        "Q2_K": "Q4_K" if weight.has_few_values else "Q3_K",
        "Q2_K_S": "Q4_K" if weight.has_few_values else kind,
        "Q3_K_M": "Q5_K" if weight.layer < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if weight.layer < 4 else kind,
        "Q4_K_M": "Q6_K" if weight.needs_more_bits else kind,
        "Q5_K_M": "Q6_K" if weight.needs_more_bits else kind,
        "IQ4_NL": "Q5_K" if weight.has_few_values else kind,
    }
    found = more.get(mix, kind)
    is_70b = weight.config.num_hidden_layers == 80 and weight.config.num_attention_heads == 64
    return "Q5_K" if is_70b and weight.has_few_values and found in ("Q3_K", "Q4_K") else found


def _keys(weight: _Weight, mix: str, kind: str) -> str:
    return "Q8_0" if weight.has_eight_experts else kind


def _down(weight: _Weight, mix: str, kind: str) -> str:
    more = {
        "Q2_K": "Q3_K",
        "Q2_K_S": "Q4_K" if weight.first(8) else kind,
        "Q3_K_M": "Q5_K" if weight.first(16) else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if weight.first(8) else kind,
        "Q4_K_M": "Q6_K" if weight.needs_more_bits else kind,
        "Q5_K_M": "Q6_K" if weight.needs_more_bits else kind,
        "IQ4_NL": "Q5_K" if weight.first(8) and not weight.has_importance else kind,
        "Q4_0": "Q4_1" if weight.first(8) and weight.has_importance else kind,
        "Q5_0": "Q5_1" if weight.first(8) and weight.has_importance else kind,
    }
    return more.get(mix, kind)


def _attention_output(weight: _Weight, mix: str, kind: str) -> str:
    if weight.has_eight_experts:
        return "Q5_K" if mix in ("Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M") else kind
    return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(mix, kind)


def _fused(weight: _Weight, mix: str, kind: str) -> str:
    return {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}.get(mix, kind)


_RULES: dict[str, Callable[[_Weight, str, str], str]] = {
    "v_proj": _values, "k_proj": _keys, "down_proj": _down, "o_proj": _attention_output, "fused": _fused,
}  # fmt: skip


def plan(
    config: ModelConfig, tensors: Mapping[str, LazyTensor], mix: str, *, pure: bool = False,
    has_importance: bool = False, together: Sequence[Sequence[str]] = (),
) -> dict[str, str]:  # fmt: skip
    """The type of every weight that is quantized, by tensor name; raises FormatError for an unknown mix.

    pure: all of the mix's main type. together: parts of layers that the target keeps in one tensor.
    """
    mix = ALIASES.get(mix, mix)
    if mix not in MIXES:
        raise FormatError(f"unknown type {mix!r}; known: {', '.join([*MIXES, *ALIASES])}")
    tied = config.tie_word_embeddings or "lm_head.weight" not in tensors
    fused = {part for parts in together for part in parts if part.startswith("self_attn.")}
    types = {}
    for name, tensor in tensors.items():
        if len(tensor.shape) < 2 or not name.endswith(".weight") or KEPT.search(name):
            continue
        kind = MIXES[mix]
        if not pure:
            kind = _type_of(name, config, mix, tied=tied, has_importance=has_importance, fused=fused)
        types[name] = _fitting(kind, tensor.shape[-1])
    return types


def _type_of(name: str, config: ModelConfig, mix: str, *, tied: bool, has_importance: bool, fused: set[str]) -> str:
    kind = MIXES[mix]
    if name == "lm_head.weight" or (tied and name == "model.embed_tokens.weight"):
        return "Q8_0" if mix in ("Q8_0", "MXFP4") else "Q6_K"
    match = _PLACE.fullmatch(name)
    if match is None:
        return kind
    if mix == "MXFP4":
        return kind if ".experts." in name else "Q8_0"
    part = "fused" if any(f".{own}." in name for own in fused) else match[2]
    weight = _Weight(part, int(match[1]), config.num_hidden_layers, config, has_importance)
    return _RULES[part](weight, mix, kind) if part in _RULES else kind


def _fitting(kind: str, columns: int) -> str:
    if columns % DTYPES[kind].block_size:
        kind = FALLBACKS.get(kind, kind)
    return "F16" if columns % DTYPES[kind].block_size else kind
