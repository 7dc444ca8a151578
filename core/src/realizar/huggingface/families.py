"""What a model_type of Hugging Face says beyond its keys: what its config class implies, how it stores tensors.

Source: transformers 5.24, `models/*/configuration_*.py` and `models/*/modeling_*.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from realizar.model import FULL, SLIDING

Values = Mapping[str, Any]


@attrs.frozen
class Family:
    """A model_type.

    defaults: keys that hold where config.json has none. derive: fields of ModelConfig that follow from its keys; None
    takes away a key that has been understood.
    transposed: linear weights are [in, out]. norms_less_one: factors of norms are stored less one. grouped: fused
    q, k and v come in one group for each key/value head. pads_positions: learned positions have rows for padding before
    the first. interleaved: rotary pairs lie side by side in q and k.
    """

    defaults: Values = attrs.field(factory=dict)
    derive: Callable[[Values], dict[str, Any]] = attrs.field(default=lambda given: {})
    transposed: bool = False
    norms_less_one: bool = False
    grouped: bool = False
    pads_positions: bool = False
    interleaved: bool = False


def _layers(given: Values) -> range:
    return range(given.get("num_hidden_layers", 0))


def _pattern(given: Values, period: int) -> tuple[str, ...]:
    """Kinds of layers of which every `period`-th is full."""
    return tuple(SLIDING if (i + 1) % period else FULL for i in _layers(given))


def _gemma2(given: Values) -> dict[str, Any]:
    return {"layer_types": given.get("layer_types") or _pattern(given, 2)}


def _gemma3(given: Values) -> dict[str, Any]:
    period = given.get("sliding_window_pattern", 6)
    return {"layer_types": given.get("layer_types") or _pattern(given, period), "sliding_window_pattern": None}


def _qwen(given: Values) -> dict[str, Any]:
    """Layers from max_window_layers on slide, if any do."""
    if not given.get("use_sliding_window"):
        return {"layer_types": None, "sliding_window": None}
    first = given.get("max_window_layers", 0)
    return {"layer_types": given.get("layer_types") or tuple(SLIDING if i >= first else FULL for i in _layers(given))}


def _qwen_moe(given: Values) -> dict[str, Any]:
    dense, period = given.get("mlp_only_layers", ()), given.get("decoder_sparse_step", 1)
    sparse = tuple(i not in dense and (i + 1) % period == 0 for i in _layers(given))
    return {**_qwen(given), "sparse_layers": sparse, "decoder_sparse_step": None, "mlp_only_layers": None}


def _smollm3(given: Values) -> dict[str, Any]:
    period = given.get("no_rope_layer_interval", 4)
    layers = given.get("no_rope_layers") or tuple(int((i + 1) % period != 0) for i in _layers(given))
    return {**_qwen(given), "no_rope_layers": layers}


def _four_times(given: Values) -> dict[str, Any]:
    """The middle of an FFN that no key names."""
    return {"intermediate_size": given.get("intermediate_size", 4 * given.get("hidden_size", 0))}


def _falcon(given: Values) -> dict[str, Any]:
    heads, new = given.get("num_attention_heads", 1), given.get("new_decoder_architecture", False)
    kv_heads = given.get("num_key_value_heads", heads) if new else 1 if given.get("multi_query", True) else heads
    return {
        **_four_times(given),
        "num_key_value_heads": kv_heads,
        "use_parallel_residual": new or given.get("parallel_attn", True),
        "num_ln_in_parallel_attn": given.get("num_ln_in_parallel_attn", 2 if new else 1),
        "alibi_bias_max": 8.0 if given.get("alibi") else None,
        "alibi_multiplier": (heads / given.get("hidden_size", heads)) ** 0.5 if given.get("alibi") else None,
        "new_decoder_architecture": None, "multi_query": None, "parallel_attn": None, "alibi": None,
    }  # fmt: skip


def _mpt(given: Values) -> dict[str, Any]:
    attention = given.get("attn_config", {})
    return {
        **{key: attention.get(key) for key in ("clip_qkv", "qk_ln", "prefix_lm", "alibi")},
        "intermediate_size": int(given.get("expansion_ratio", 4) * given.get("hidden_size", 0)),
        "alibi_bias_max": attention.get("alibi_bias_max", 8),
        "attention_multiplier": attention.get("softmax_scale"),
        "attn_config": None, "expansion_ratio": None, "learned_pos_emb": None, "hidden_act": "gelu",
    }  # fmt: skip


def _bloom(given: Values) -> dict[str, Any]:
    return {**_four_times(given), "alibi_bias_max": 8.0, "hidden_act": "gelu_new"}


def _granite(given: Values) -> dict[str, Any]:
    return {"logit_scale": 1 / given.get("logits_scaling", 1.0), "logits_scaling": None}


def _bert(given: Values) -> dict[str, Any]:
    return {"is_causal": bool(given.get("is_decoder", False))}


def _roberta(given: Values) -> dict[str, Any]:
    """Positions are counted from the row after that of padding."""
    padding = given.get("pad_token_id", 1) + 1
    return {**_bert(given), "max_position_embeddings": given.get("max_position_embeddings", padding + 512) - padding}


_BERT = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2}

_GEMMA = {"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "tie_word_embeddings": True, "rms_norm_eps": 1e-6}

FAMILIES: dict[str, Family] = {
    "llama": Family({"rms_norm_eps": 1e-6}),
    "mistral": Family({"rms_norm_eps": 1e-6}),
    "mixtral": Family({"rope_theta": 1e6}),
    "qwen2": Family({"rms_norm_eps": 1e-6}, _qwen),
    "qwen3": Family({"rms_norm_eps": 1e-6, "head_dim": 128}, _qwen),
    "qwen2_moe": Family({"rms_norm_eps": 1e-6, "norm_topk_prob": False}, _qwen_moe),
    "qwen3_moe": Family({"rms_norm_eps": 1e-6, "norm_topk_prob": False}, _qwen_moe),
    "phi3": Family(),
    "granite": Family({"rms_norm_eps": 1e-6, "attention_multiplier": 1.0}, _granite),
    "smollm3": Family({"rms_norm_eps": 1e-6, "rope_theta": 2e6, "tie_word_embeddings": True}, _smollm3),
    "olmo2": Family(),
    "gemma": Family(_GEMMA, norms_less_one=True),
    "gemma2": Family(
        {**_GEMMA, "query_pre_attn_scalar": 256, "sliding_window": 4096, "attn_logit_softcapping": 50.0,
         "final_logit_softcapping": 30.0},
        _gemma2, norms_less_one=True,
    ),
    "gemma3_text": Family(
        {**_GEMMA, "query_pre_attn_scalar": 256, "sliding_window": 4096, "rope_theta": 1e6,
         "rope_local_base_freq": 10000.0},
        _gemma3, norms_less_one=True,
    ),
    "gpt2": Family({"hidden_act": "gelu_new", "tie_word_embeddings": True}, _four_times, transposed=True),
    "gpt_neox": Family(
        {"hidden_act": "gelu", "partial_rotary_factor": 0.25, "use_parallel_residual": True},
        lambda given: {"num_ln_in_parallel_attn": 2}, grouped=True,
    ),
    "phi": Family(
        {"hidden_act": "gelu_new", "partial_rotary_factor": 0.5}, lambda given: {"use_parallel_residual": True}
    ),
    "stablelm": Family({"partial_rotary_factor": 0.25}),
    "starcoder2": Family({"hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True}),
    "cohere": Family(
        {"rope_theta": 500000.0, "logit_scale": 0.0625, "tie_word_embeddings": True},
        lambda given: {"use_parallel_residual": True}, interleaved=True,
    ),
    "falcon": Family({"hidden_act": "gelu", "tie_word_embeddings": True}, _falcon, grouped=True),
    "bloom": Family({"max_position_embeddings": 2048, "tie_word_embeddings": True}, _bloom, grouped=True),
    "mpt": Family({"tie_word_embeddings": True}, _mpt),
    "bert": Family(_BERT, _bert),
    "nomic_bert": Family({**_BERT, "hidden_act": "silu", "rope_theta": 1000.0}, _bert),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), Family(_BERT, _roberta, pads_positions=True)),
}  # fmt: skip
"""By model_type; others are taken by their keys alone."""
