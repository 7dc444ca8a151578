"""Tensors under the names and in the order that architectures know, whoever wrote the file."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from realizar.derived import half_split, split_fused, transposed
from realizar.errors import ModelError
from realizar.ggml_names import LAYER, WHOLE
from realizar.huggingface import canonical_tensors
from realizar.huggingface.json_object import JsonObject
from realizar.model import ModelConfig
from realizar.tensors import LazyTensor
from realizar_apr.config import is_checkpoint, rotary_pairs_lie_side_by_side

EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"

Tensors = Mapping[str, LazyTensor]

APRENDER_NAMES = {"model.embed_positions.weight": "model.position_embedding.weight"}
"""Where aprender calls a tensor otherwise than architectures do."""

_CANONICAL = {theirs: ours for ours, theirs in APRENDER_NAMES.items()} | {"tok_embeddings.weight": EMBEDDING}
_LAYER_NAME = re.compile(r"blk\.(\d{1,5})\.([a-z0-9_]+)\.(weight|bias)")
_ROTATED = re.compile(r"\.([qk])_proj\.(?:weight|bias)$")
_TRANSPOSED = re.compile(r"_proj\.weight$|^lm_head\.weight$")


def canonical(tensors: Tensors, metadata: JsonObject) -> dict[str, LazyTensor]:
    """The tensors of a file that realizar wrote, which are in order."""
    return _without_copy(_renamed(tensors), metadata)


def put_right(config: ModelConfig, tensors: Tensors, metadata: JsonObject) -> dict[str, LazyTensor]:
    """The tensors of another writer as architectures want them; raises ModelError naming one that does not fit."""
    ggml_names = any(name.startswith(("blk.", "token_embd.")) for name in tensors)
    named = _renamed(tensors)
    if is_checkpoint(metadata):
        named = {name: transposed(t) if _TRANSPOSED.search(name) else t for name, t in named.items()}
    if ggml_names or metadata.values.get("original_format") == "gguf":
        named = split_fused(config, named)
    else:
        named = canonical_tensors(config, named)
    if rotary_pairs_lie_side_by_side(metadata, config, ggml_names):
        named = {name: _in_halves(tensor, config) for name, tensor in named.items()}
    return _without_copy(named, metadata)


def _renamed(tensors: Tensors) -> dict[str, LazyTensor]:
    """ggml's and aprender's names as Hugging Face's; others stay."""
    has_post_norm = any(name.endswith(".post_ffw_norm.weight") for name in tensors)
    found: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        canonical = _CANONICAL.get(name) or _of_layer(name, has_post_norm) or _of_model(name) or name
        if canonical in found:
            raise ModelError(f"{tensor.source}: {name!r} is {canonical!r}, and so is {found[canonical].source}")
        found[canonical] = attrs.evolve(tensor, name=canonical)
    return found


def _of_layer(name: str, has_post_norm: bool) -> str | None:
    match = _LAYER_NAME.fullmatch(name)
    if match is None or match[2] not in LAYER:
        return None
    part = "pre_feedforward_layernorm" if has_post_norm and match[2] == "ffn_norm" else LAYER[match[2]]
    return f"model.layers.{match[1]}.{part}.{match[3]}"


def _of_model(name: str) -> str | None:
    part, _, kind = name.rpartition(".")
    return f"{WHOLE[part]}.{kind}" if part in WHOLE and kind in ("weight", "bias") else None


def _in_halves(tensor: LazyTensor, config: ModelConfig) -> LazyTensor:
    match = _ROTATED.search(tensor.name)
    if match is None:
        return tensor
    num_heads = config.num_attention_heads if match[1] == "q" else config.num_key_value_heads
    return half_split(tensor, num_heads)


def _without_copy(tensors: dict[str, LazyTensor], metadata: JsonObject) -> dict[str, LazyTensor]:
    """Without an output layer that the writer made of the embedding for readers that want one."""
    made = metadata.get("tied_embeddings", bool) and {EMBEDDING, OUTPUT} <= set(tensors)
    if made and _alike(tensors[EMBEDDING], tensors[OUTPUT]):
        del tensors[OUTPUT]
    return tensors


def _alike(one: LazyTensor, other: LazyTensor) -> bool:
    return (one.shape, one.dtype) == (other.shape, other.dtype)
