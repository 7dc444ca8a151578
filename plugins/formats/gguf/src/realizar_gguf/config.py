"""GGUF's model keys in Hugging Face's terms. Source: GGUF specification, "Standardized key-value pairs"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from realizar.model import FULL, SLIDING, ModelConfig, structure_config
from realizar_gguf.families import Family, family
from realizar_gguf.keys import Incomplete, Keys
from realizar_gguf.metadata import Metadata, ValueType
from realizar_gguf.tensor_index import TensorInfo

_REQUIRED = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "context_length": "max_position_embeddings",
}

_NUMBERS = {
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base_swa": "rope_local_base_freq",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}


def read_config(metadata: Metadata, tensors: Iterable[TensorInfo]) -> ModelConfig:
    """The configuration; raises Incomplete if keys are missing, FormatError if they contradict each other."""
    shapes = {info.name: info for info in tensors}
    architecture = metadata.string("general.architecture")
    if architecture is None:
        raise Incomplete("the file has no key general.architecture")
    keys = Keys(metadata, architecture)
    kind = family(architecture)
    values: dict[str, Any] = {"model_type": kind.model_type, **kind.values}
    for key, name in _REQUIRED.items():
        values[name] = keys.required(key)
    if shapes and values["num_hidden_layers"] > len(shapes):
        raise keys.error("block_count", f"at most {len(shapes)}, the number of tensors")
    values["num_key_value_heads"] = keys.size("attention.head_count_kv") or values["num_attention_heads"]
    values["head_dim"] = _head_dim(keys, values)
    values["vocab_size"] = _vocab_size(keys, metadata, shapes.get("token_embd.weight"))
    values |= _rotary(keys, values["head_dim"])
    for key, name in _NUMBERS.items():
        if (number := keys.number(key)) is not None:
            values[name] = number
    values |= _sliding(keys, kind, values["num_hidden_layers"])
    values |= kind.derived(values)
    if keys.size("attention.value_length") not in (None, values["head_dim"]):
        keys.understood.discard(f"{architecture}.attention.value_length")
    return structure_config(values, metadata.file, keys.unknown())


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


def _sliding(keys: Keys, kind: Family, num_layers: int) -> dict[str, Any]:
    """sliding_window, and layer_types where some layers see everything."""
    window = keys.size("attention.sliding_window")
    if window is None:
        return {}
    slides = keys.flags("attention.sliding_window_pattern", num_layers)
    if slides is None and kind.sliding_pattern is not None:
        slides = [bool((i + 1) % kind.sliding_pattern) for i in range(num_layers)]
    types = None if slides is None else tuple(SLIDING if slide else FULL for slide in slides)
    return {"sliding_window": window, "layer_types": types}


def _rotary(keys: Keys, head_dim: int) -> dict[str, Any]:
    """rope_theta, rotary_dim and rope_scaling as far as the file gives them."""
    values: dict[str, Any] = {}
    if (theta := keys.number("rope.freq_base")) is not None:
        values["rope_theta"] = theta
    if (rotary_dim := keys.size("rope.dimension_count")) is not None:
        if rotary_dim > head_dim or rotary_dim % 2:
            raise keys.error("rope.dimension_count", f"an even number, at most the head's {head_dim}")
        values["rotary_dim"] = rotary_dim
    if (scaling := _rope_scaling(keys)) is not None:
        values["rope_scaling"] = scaling
    return values


def _rope_scaling(keys: Keys) -> dict[str, Any] | None:
    """The fields of RopeScaling. A factor without a type means linear, as does the older key rope.scale_linear."""
    kind = keys.string("rope.scaling.type")
    factor = keys.number("rope.scaling.factor") or keys.number("rope.scale_linear")
    original = keys.size("rope.scaling.original_context_length")
    if kind == "none" or (kind is None and factor is None):
        return None
    return {
        "rope_type": kind or "linear",
        "factor": factor or 1.0,
        "original_max_position_embeddings": original,
    }
