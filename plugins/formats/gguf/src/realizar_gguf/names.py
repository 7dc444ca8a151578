"""GGUF's tensor names in Hugging Face's terms. Source: llama.cpp `gguf-py/gguf/constants.py`, TENSOR_NAMES."""

from __future__ import annotations

import re

from realizar.errors import FormatError
from realizar_gguf.families import Family

_WHOLE = {
    "token_embd": "model.embed_tokens",
    "token_embd_norm": "model.embed_layernorm",
    "position_embd": "model.embed_positions",
    "output_norm": "model.norm",
    "output": "lm_head",
    "rope_freqs": "model.rope_freqs",
    "rope_factors_long": "model.rope_factors_long",
    "rope_factors_short": "model.rope_factors_short",
}

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_qkv": "self_attn.qkv_proj",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.gate_proj",
    "ffn_up_exps": "mlp.experts.up_proj",
    "ffn_down_exps": "mlp.experts.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}

LAYER_NAME = re.compile(r"blk\.(0|[1-9][0-9]{0,4})\.([a-z0-9_]+)\.(weight|bias)")
_WHOLE_NAME = re.compile(r"([a-z_]+)\.(weight|bias)")


def canonical_name(name: str, family: Family | None = None) -> str:
    """The Hugging Face name of a GGUF tensor; a name without one stays as it is.

    Tensors of an importance matrix are named after the weights: NAME.in_sum2, NAME.counts.
    """
    for suffix in (".in_sum2", ".counts"):
        if name.endswith(suffix):
            return canonical_name(name.removesuffix(suffix), family) + suffix
    if match := LAYER_NAME.fullmatch(name):
        layer, part, kind = match.groups()
        known = (family.names if family else {}).get(part) or _LAYER.get(part)
        return f"model.layers.{layer}.{known}.{kind}" if known else name
    if match := _WHOLE_NAME.fullmatch(name):
        part, kind = match.groups()
        return f"{_WHOLE[part]}.{kind}" if part in _WHOLE else name
    return name


def gguf_name(name: str, family: Family) -> str:
    """The inverse of `canonical_name`; raises FormatError for a tensor that the family has no name for."""
    if match := re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
        layer, part, kind = match.groups()
        parts = {known: own for own, known in _LAYER.items()} | {known: own for own, known in family.names.items()}
        found = f"blk.{layer}.{parts[part]}.{kind}" if part in parts else name
    else:
        part, _, kind = name.rpartition(".")
        found = next((f"{own}.{kind}" for own, known in _WHOLE.items() if known == part), name)
    if canonical_name(found, family) != name or (found == name and name.startswith(("model.", "lm_head."))):
        raise FormatError(f"tensor {name!r} has no name in GGUF files of {family.model_type} models")
    return found
