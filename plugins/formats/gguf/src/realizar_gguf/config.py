"""GGUF's model keys in Hugging Face's terms. Source: GGUF specification, "Standardized key-value pairs"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from realizar.model import FULL, SLIDING, ModelConfig, structure_config
from realizar_gguf.families import Family, family_of
from realizar_gguf.keys import Incomplete, Keys
from realizar_gguf.metadata import Metadata, ValueType
from realizar_gguf.scaling import read_rotary
from realizar_gguf.tensor_index import TensorInfo

MAX_LAYERS = 1 << 16
"""Layers of a file without tensors."""

REQUIRED = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "context_length": "max_position_embeddings",
}

SIZES = {
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
}

NUMBERS = {
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_eps",
    "attention.scale": "attention_multiplier",
    "attention.max_alibi_bias": "alibi_bias_max",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "logit_scale": "logit_scale",
    "residual_scale": "residual_multiplier",
    "embedding_scale": "embedding_multiplier",
}

TRUTHS = {
    "use_parallel_residual": "use_parallel_residual",
    "expert_weights_norm": "norm_topk_prob",
    "attention.causal": "is_causal",
}

POOLING_TYPES = (None, "mean", "cls", "last")
"""By number; 4 is that of models that rank a pair of texts. Source: llama.cpp `llama_pooling_type`."""

_REFUSED = ("attention.clamp_kqv", "expert_weights_scale", "expert_group_count", "interleave_moe_layer_step")
"""Keys that change what a model computes in a way that no family here has."""


def read_config(metadata: Metadata, tensors: Iterable[TensorInfo]) -> ModelConfig:
    """The configuration; raises Incomplete if keys are missing, FormatError if they contradict each other."""
    shapes = {info.name: info for info in tensors}
    architecture = metadata.string("general.architecture")
    if architecture is None:
        raise Incomplete("the file has no key general.architecture")
    keys, kind = Keys(metadata, architecture), family_of(metadata, shapes)
    for key in _REFUSED:
        if f"{architecture}.{key}" in metadata:
            raise Incomplete(f"{architecture}.{key} is not implemented")
    if metadata.get(f"{architecture}.attention.max_alibi_bias") == 0:
        raise Incomplete(f"{architecture}.attention.max_alibi_bias is 0; learned positions are not implemented")
    values: dict[str, Any] = {"model_type": kind.model_type, **kind.values}
    for key, name in REQUIRED.items():
        values[name] = keys.required(key)
    if values["num_hidden_layers"] > (len(shapes) or MAX_LAYERS):
        raise keys.error("block_count", f"at most {len(shapes) or MAX_LAYERS}, the number of tensors")
    values["num_key_value_heads"] = keys.size("attention.head_count_kv") or values["num_attention_heads"]
    values["head_dim"] = _head_dim(keys, values)
    values["vocab_size"] = _vocab_size(keys, metadata, shapes.get("token_embd.weight"))
    values |= read_rotary(keys, values["head_dim"], shapes)
    values |= _optional(keys)
    values |= _sliding(keys, kind, values)
    values |= _embedding(keys, shapes.get("token_types.weight"))
    values["use_qk_norm"] = kind.qk_norms and "blk.0.attn_q_norm.weight" in shapes
    values |= kind.derive(values)
    if keys.size("attention.value_length") not in (None, values["head_dim"]):
        keys.understood.discard(f"{architecture}.attention.value_length")
    keys.ignore("tensor_data_layout")
    return structure_config(values, metadata.file, keys.unknown())


def _optional(keys: Keys) -> dict[str, Any]:
    """Fields that have a key of their own."""
    found: dict[str, Any] = {name: keys.size(key) for key, name in SIZES.items()}
    found |= {name: keys.number(key) for key, name in NUMBERS.items()}
    found |= {name: keys.truth(key) for key, name in TRUTHS.items()}
    return {name: value for name, value in found.items() if value is not None}


def _embedding(keys: Keys, token_types: TensorInfo | None) -> dict[str, Any]:
    """How hidden states become the embedding of a text; llama.cpp normalizes all, so no key says it."""
    pooling = keys.size("pooling_type", low=0) or 0
    if pooling >= len(POOLING_TYPES):
        raise Incomplete(f"{keys.architecture}.pooling_type is {pooling}, which is not implemented")
    return {
        "type_vocab_size": token_types.shape[0] if token_types and token_types.shape else None,
        "pooling_type": POOLING_TYPES[pooling],
        "normalize_embeddings": pooling != 0,
    }


def _sliding(keys: Keys, kind: Family, values: Mapping[str, Any]) -> dict[str, Any]:
    """sliding_window, and layer_types where some layers see everything; a window of 0 is none."""
    window = keys.size("attention.sliding_window", low=0)
    slides = keys.flags("attention.sliding_window_pattern", values["num_hidden_layers"])
    window = values.get("sliding_window") if window is None else window
    if not window:
        return {"sliding_window": None}
    if slides is None and kind.sliding_pattern is not None:
        slides = [bool((i + 1) % kind.sliding_pattern) for i in range(values["num_hidden_layers"])]
    types = None if slides is None else tuple(SLIDING if slide else FULL for slide in slides)
    return {"sliding_window": window, "layer_types": types}


def _head_dim(keys: Keys, values: dict[str, Any]) -> int:
    """attention.key_length, or the hidden size shared out among the heads."""
    num_heads, num_kv_heads = values["num_attention_heads"], values["num_key_value_heads"]
    if num_heads % num_kv_heads:
        raise keys.error("attention.head_count_kv", f"a divisor of {num_heads}, the number of query heads")
    key_length = keys.size("attention.key_length")
    if key_length is not None:
        return key_length
    head_dim, rest = divmod(values["hidden_size"], num_heads)
    if rest or not head_dim:
        raise keys.error("attention.head_count", f"a divisor of {values['hidden_size']}, the embedding length")
    return int(head_dim)


def _vocab_size(keys: Keys, metadata: Metadata, embedding: TensorInfo | None) -> int:
    """The key, the token list and the embedding's rows must agree as far as they are there."""
    tokens = metadata.array("tokenizer.ggml.tokens", ValueType.STRING)
    sizes = {
        f"{keys.architecture}.vocab_size": keys.size("vocab_size"),
        "tokenizer.ggml.tokens": None if tokens is None else len(tokens),
        "token_embd.weight": embedding.shape[0] if embedding and embedding.shape else None,
    }
    present = {where: size for where, size in sizes.items() if size is not None}
    if not present:
        raise Incomplete(f"the file has none of {', '.join(sizes)}")
    if len(set(present.values())) > 1:
        found = ", ".join(f"{size} in {where}" for where, size in present.items())
        key = next((where for where in present if where in metadata.entries), None)
        assert key is not None
        raise metadata.error(key, f"one vocabulary size, not {found}")
    return next(iter(present.values()))
