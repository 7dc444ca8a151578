"""What the name of a GGUF architecture says beyond its keys.

Source: llama.cpp, `src/models/*.cpp` for constants that are not in the file, `conversion/*.py` for how tensors are
stored, `llama_model_rope_type` for the order of rotary pairs; activations are those of the original models, which
llama.cpp partly approximates.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

import attrs

from realizar.derived import FUSED_GATE_UP, FUSED_QKV
from realizar.errors import FormatError
from realizar.model import ModelConfig
from realizar_gguf.metadata import Metadata

Values = Mapping[str, Any]


@attrs.frozen
class Family:
    """A GGUF architecture in Hugging Face's terms.

    model_type: what Hugging Face calls it. values: fields of ModelConfig that it has if no key says otherwise.
    names: parts of layers named otherwise than usual. interleaved: whether rotary pairs lie side by side in the rows of
    q and k. fused: projections that lie one above the other in one tensor. sliding_pattern: of so many layers the last
    sees everything. derive: fields that follow from those read. layer_norm: whether norms subtract the mean.
    written: keys that a file of it must have, or has otherwise than the fields of the same names. qk_norms: whether
    some models of it have norms on queries and keys, which only the tensors show. left_out: beginnings of the names of
    tensors that it has no place for and does not need.
    """

    model_type: str
    values: Values = attrs.field(factory=dict)
    names: Mapping[str, str] = attrs.field(factory=dict)
    interleaved: bool = False
    fused: tuple[str, ...] = ()
    sliding_pattern: int | None = None
    derive: Callable[[Values], dict[str, Any]] = attrs.field(default=lambda values: {})
    layer_norm: bool = False
    written: Callable[[ModelConfig], dict[str, Any]] = attrs.field(default=lambda config: {})
    qk_norms: bool = False
    left_out: tuple[str, ...] = ()


_POST_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def _gemma_27b(values: Values) -> dict[str, Any]:
    """The largest Gemma 2 and 3 scale queries by another size, which is in no key; llama.cpp counts layers too."""
    if values["num_hidden_layers"] not in (46, 62):
        return {}
    return {"query_pre_attn_scalar": values["hidden_size"] // values["num_attention_heads"]}


def _granite(values: Values) -> dict[str, Any]:
    """The key logit_scale holds the divisor of the logits."""
    return {"logit_scale": 1 / values.get("logit_scale", 1.0)}


def _smollm3(values: Values) -> dict[str, Any]:
    return {"no_rope_layers": tuple(int((i + 1) % 4 != 0) for i in range(values["num_hidden_layers"]))}


def _shared_expert(values: Values) -> dict[str, Any]:
    size = values.get("shared_expert_intermediate_size", values["intermediate_size"])
    return {"shared_expert_intermediate_size": size}


_FALCON = {"hidden_act": "gelu", "use_parallel_residual": True}

_AFTER = {"attn_output_norm": "post_attention_layernorm", "layer_output_norm": "post_feedforward_layernorm"}
"""Encoders have no norm before a sublayer."""

_HEADS = ("pooler.", "cls.", "embeddings.position_ids")
"""What encoders were trained with, and numbers that count from 0."""

FAMILIES: dict[str, Family] = {
    "llama": Family("llama", interleaved=True),
    "llama, experts": Family("mixtral", interleaved=True),
    "qwen2": Family("qwen2"),
    "qwen2moe": Family("qwen2_moe", {"norm_topk_prob": False}, derive=_shared_expert),
    "qwen3": Family("qwen3"),
    "qwen3moe": Family("qwen3_moe"),
    "phi3": Family("phi3", names={"ffn_up": FUSED_GATE_UP}, fused=(FUSED_QKV, FUSED_GATE_UP)),
    "granite": Family(
        "granite", interleaved=True, derive=_granite, written=lambda config: {"logit_scale": 1 / config.logit_scale}
    ),
    "smollm3": Family("smollm3", interleaved=True, derive=_smollm3),
    "olmo2": Family("olmo2", names={"post_attention_norm": "post_attention_layernorm"}),
    "gemma": Family("gemma", {"hidden_act": "gelu_tanh"}),
    "gemma2": Family(
        "gemma2", {"hidden_act": "gelu_tanh", "sliding_window": 4096}, _POST_NORMS, sliding_pattern=2,
        derive=_gemma_27b,
    ),
    "gemma3": Family(
        "gemma3_text", {"hidden_act": "gelu_tanh", "rope_local_base_freq": 10000.0}, _POST_NORMS, sliding_pattern=6,
        derive=_gemma_27b,
    ),
    "gpt2": Family("gpt2", {"hidden_act": "gelu_tanh"}, fused=(FUSED_QKV,), layer_norm=True),
    "gptneox": Family(
        "gpt_neox", {"hidden_act": "gelu", "use_parallel_residual": True, "num_ln_in_parallel_attn": 2},
        fused=(FUSED_QKV,), layer_norm=True,
        written=lambda config: {"use_parallel_residual": config.use_parallel_residual},
    ),
    "phi2": Family("phi", {"hidden_act": "gelu_tanh", "use_parallel_residual": True}, layer_norm=True),
    "stablelm": Family("stablelm", {"use_parallel_residual": True}, layer_norm=True, qk_norms=True),
    "starcoder2": Family("starcoder2", {"hidden_act": "gelu_tanh"}, layer_norm=True),
    "command-r": Family(
        "cohere", {"use_parallel_residual": True}, interleaved=True, layer_norm=True, qk_norms=True
    ),
    "falcon": Family("falcon", _FALCON, fused=(FUSED_QKV,), layer_norm=True),
    "falcon, two norms": Family(
        "falcon", {**_FALCON, "num_ln_in_parallel_attn": 2},
        {"attn_norm_2": "input_layernorm", "attn_norm": "post_attention_layernorm"},
        fused=(FUSED_QKV,), layer_norm=True,
    ),
    "bloom": Family("bloom", {"hidden_act": "gelu_tanh", "alibi_bias_max": 8.0}, fused=(FUSED_QKV,), layer_norm=True),
    "mpt": Family("mpt", {"hidden_act": "gelu"}, fused=(FUSED_QKV,), layer_norm=True),
    "bert": Family("bert", {"hidden_act": "gelu", "is_causal": False}, _AFTER, layer_norm=True, left_out=_HEADS),
    "nomic-bert": Family(
        "nomic_bert", {"is_causal": False}, _AFTER, fused=(FUSED_QKV,), layer_norm=True, left_out=_HEADS
    ),
}  # fmt: skip
"""By GGUF's name of the architecture, and what else tells two models of one name apart."""


def family_of(metadata: Metadata, tensors: Container[str]) -> Family:
    """The family of a file with tensors of these names; an unknown one is taken by its keys alone."""
    architecture = metadata.string("general.architecture") or ""
    name = architecture
    if f"{architecture}.expert_count" in metadata and f"{name}, experts" in FAMILIES:
        name += ", experts"
    if "blk.0.attn_norm_2.weight" in tensors and f"{name}, two norms" in FAMILIES:
        name += ", two norms"
    return FAMILIES.get(name, Family(architecture))


ALIASES = {"mistral": "llama", **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), "bert")}
"""Other model_types that GGUF has no name for because they compute the same."""


def architecture_of(config: ModelConfig) -> tuple[str, Family]:
    """GGUF's name of the architecture, and the family; raises FormatError for one that GGUF has no name for."""
    model_type = ALIASES.get(config.model_type, config.model_type)
    if model_type == "llama" and config.num_experts:
        model_type = "mixtral"
    for name, family in FAMILIES.items():
        norms = family.values.get("num_ln_in_parallel_attn", 1)
        if family.model_type == model_type and norms == config.num_ln_in_parallel_attn:
            return name.partition(",")[0], family
    known = ", ".join(sorted({family.model_type for family in FAMILIES.values()}))
    raise FormatError(f"{config.model_type} models cannot be written as GGUF; known: {known}")
