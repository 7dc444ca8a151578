"""A ModelConfig as config.json: the inverse of `config`, `families` and `rope`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from realizar.conversion.likeness import prove_alike
from realizar.errors import FormatError, ModelError
from realizar.huggingface.checkpoints import names_of
from realizar.huggingface.config import read_hf_config
from realizar.huggingface.families import FAMILIES, Family
from realizar.model import ModelConfig

log = logging.getLogger(__name__)

_GPT2 = {
    "hidden_size": "n_embd", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer",
    "max_position_embeddings": "n_positions", "intermediate_size": "n_inner", "hidden_act": "activation_function",
    "layer_norm_eps": "layer_norm_epsilon",
}  # fmt: skip
_GEMMA = {"hidden_act": "hidden_activation"}
SPELLINGS: dict[str, dict[str, str]] = {
    **dict.fromkeys(("phi", "stablelm"), {"use_qk_norm": "qk_layernorm"}),
    "gpt2": _GPT2, "gemma2": _GEMMA, "gemma3_text": _GEMMA,
    "mixtral": {"num_experts": "num_local_experts"},
    "gpt_neox": {"partial_rotary_factor": "rotary_pct", "rope_theta": "rotary_emb_base"},
    "starcoder2": {"layer_norm_eps": "norm_epsilon"},
    "falcon": {"num_key_value_heads": "num_kv_heads", "intermediate_size": "ffn_hidden_size",
               "hidden_act": "activation", "layer_norm_eps": "layer_norm_epsilon"},
    "mpt": {"hidden_size": "d_model", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers",
            "max_position_embeddings": "max_seq_len", "layer_norm_eps": "layer_norm_epsilon"},
    "bloom": {"num_attention_heads": "n_head", "num_hidden_layers": "n_layer", "layer_norm_eps": "layer_norm_epsilon"},
}  # fmt: skip
"""What families call fields of ModelConfig, where they differ."""

ACTIVATIONS = {"gelu_tanh": "gelu_pytorch_tanh"}
"""Hugging Face's names of activations, where they differ."""

_Q, _UP = "self_attn.q_proj", "mlp.up_proj"
BIASES: dict[str, dict[str, str]] = {
    **dict.fromkeys(("llama", "granite", "smollm3"), {"attention_bias": _Q, "mlp_bias": _UP}),
    **dict.fromkeys(
        ("qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "cohere", "olmo2", "gpt_neox"), {"attention_bias": _Q}
    ),
    "falcon": {"bias": _Q}, "stablelm": {"use_qkv_bias": _Q}, "qwen2_moe": {"qkv_bias": _Q},
    "starcoder2": {"use_bias": _UP},
}  # fmt: skip
"""Keys that say whether a projection has a bias, by model_type."""

_NOT_KEYS = frozenset("unknown rotary_dim rope_scaling alibi_bias_max alibi_multiplier sparse_layers".split())
_ALWAYS = frozenset("model_type vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads".split())
_BY_CLASS = {
    "num_ln_in_parallel_attn": ("gpt_neox",), "use_parallel_residual": ("phi", "cohere", "falcon"),
    "num_key_value_heads": ("gpt2", "gpt_neox", "bloom", "mpt"),
    "head_dim": ("gpt2", "gpt_neox", "bloom", "phi", "falcon", "mpt"),
    "intermediate_size": ("bloom", "mpt"), "hidden_act": ("bloom", "mpt"), "max_position_embeddings": ("bloom",),
    "attention_multiplier": ("mpt",),
}  # fmt: skip
"""Fields that follow from the class of the model, by model_type, and have no key."""


def config_json(config: ModelConfig, tensors: Mapping[str, object], described: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of the model, proven to be read back as the same; raises FormatError if it cannot say it.

    described: a config.json that the model came with, which is kept if it still describes it.
    """
    if described:
        try:
            _prove(described, config)
            return dict(described)
        except FormatError as error:
            log.warning("the config.json that the model came with no longer describes it and is made anew: %s", error)
    values = _values(config, tensors)
    _prove(values, config)
    return values


def _prove(values: Mapping[str, Any], config: ModelConfig) -> None:
    try:
        written = read_hf_config(values, "config.json")
    except ModelError as error:
        raise FormatError(f"a {config.model_type} model cannot be described by a config.json: {error}") from error
    prove_alike(config, written, "config.json")


def _values(config: ModelConfig, tensors: Mapping[str, object]) -> dict[str, Any]:
    family, spelled = FAMILIES.get(config.model_type, Family()), SPELLINGS.get(config.model_type, {})
    usual = {field.name: field.default for field in attrs.fields(ModelConfig)} | dict(family.defaults)
    fields = {field.name: getattr(config, field.name) for field in attrs.fields(ModelConfig)}
    values = {
        name: value
        for name, value in fields.items()
        if name not in _NOT_KEYS and config.model_type not in _BY_CLASS.get(name, ())
        and (name in _ALWAYS or value != usual.get(name) or name in family.defaults)
    }  # fmt: skip
    values["hidden_act"] = ACTIVATIONS.get(config.hidden_act, config.hidden_act)
    if config.model_type in _BY_CLASS["hidden_act"]:
        del values["hidden_act"]
    values |= _rotary(config) | _scores(config)
    values |= _BY_FAMILY[config.model_type](config) if config.model_type in _BY_FAMILY else {}
    values["tie_word_embeddings"] = "lm_head.weight" not in tensors
    for key, part in BIASES.get(config.model_type, {}).items():
        values[key] = f"model.layers.0.{part}.bias" in tensors
    found = {spelled.get(name, name): _plain(value) for name, value in values.items()}
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))  # classes have defaults beyond the vocabulary
    return {"architectures": [names_of(config).architecture], **ids, **found}


def _rotary(config: ModelConfig) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if (
        config.rotary_dim not in (None, config.head_dim)
        or "partial_rotary_factor" in FAMILIES[config.model_type].defaults
    ):
        values["partial_rotary_factor"] = (config.rotary_dim or config.head_dim) / config.head_dim
    if config.rope_scaling is not None:
        plain = attrs.asdict(type(config.rope_scaling)(config.rope_scaling.rope_type))
        scaling = attrs.asdict(config.rope_scaling)
        changed = {key: value for key, value in scaling.items() if value != plain[key]}
        is_longrope = scaling["rope_type"] == "longrope"  # whose factor follows from the two lengths if it has none
        factor = {} if is_longrope else {"factor": scaling["factor"]}
        values["rope_scaling"] = {"rope_type": scaling["rope_type"], **factor, **changed}
        if is_longrope:
            values["original_max_position_embeddings"] = scaling["original_max_position_embeddings"]
    return values


def _scores(config: ModelConfig) -> dict[str, Any]:
    """How scores are scaled, as the family has it."""
    usual, scale = FAMILIES[config.model_type].defaults, config.attention_scale
    if "query_pre_attn_scalar" in usual:
        return {"query_pre_attn_scalar": round(scale**-2), "attention_multiplier": None}
    return {"attention_multiplier": scale} if "attention_multiplier" in usual else {}


def _qwen(config: ModelConfig) -> dict[str, Any]:
    layers = range(config.num_hidden_layers)
    slides = any(config.window(i) for i in layers)
    kinds = {"layer_types": [config.kind_of_layer(i) for i in layers]} if slides else {}
    return {"use_sliding_window": slides, **kinds}


def _qwen_moe(config: ModelConfig) -> dict[str, Any]:
    dense = [i for i in range(config.num_hidden_layers) if not config.is_sparse(i)]
    return {**_qwen(config), "mlp_only_layers": dense, "decoder_sparse_step": 1}


def _granite(config: ModelConfig) -> dict[str, Any]:
    return {"logits_scaling": 1 / config.logit_scale, "logit_scale": None}


def _falcon(config: ModelConfig) -> dict[str, Any]:
    """The new decoder architecture is that of several key/value heads, or of two norms."""
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    num_norms = config.num_ln_in_parallel_attn
    return {
        "new_decoder_architecture": num_norms == 2 or 1 < kv_heads < heads, "num_ln_in_parallel_attn": num_norms,
        "multi_query": kv_heads == 1 < heads, "parallel_attn": config.use_parallel_residual,
        "alibi": config.alibi_bias_max is not None,
    }  # fmt: skip


def _mpt(config: ModelConfig) -> dict[str, Any]:
    ratio = config.intermediate_size / config.hidden_size
    bias_max = config.alibi_bias_max or 0.0  # the class wants whole numbers, where they are
    return {
        "expansion_ratio": int(ratio) if ratio.is_integer() else ratio,
        "attn_config": {
            "alibi": True, "alibi_bias_max": int(bias_max) if bias_max.is_integer() else bias_max,
            "softmax_scale": config.attention_multiplier,
        },
    }  # fmt: skip


_BY_FAMILY: dict[str, Callable[[ModelConfig], dict[str, Any]]] = {
    "granite": _granite, "qwen2": _qwen, "qwen3": _qwen, "smollm3": _qwen, "qwen2_moe": _qwen_moe,
    "qwen3_moe": _qwen_moe, "falcon": _falcon, "mpt": _mpt,
}  # fmt: skip
"""Keys that say in another way what fields of ModelConfig say, by model_type."""


def _plain(value: Any) -> Any:
    """What JSON has: lists for tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _shortest(value) if isinstance(value, float) else value


def _shortest(value: float) -> float:
    """A float32, as other formats keep numbers, in its fewest digits: 1e-05 for 9.999999747378752e-06."""
    single = np.float32(value)
    return float(str(single)) if float(single) == value else value
