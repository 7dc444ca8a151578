"""GGUF's tensor names in Hugging Face's terms. Source: llama.cpp `gguf-py/gguf/constants.py`, TENSOR_NAMES."""

from __future__ import annotations

import re

from realizar_gguf.families import family

_WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "rope_freqs": "model.rope_freqs",
}

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

LAYER_NAME = re.compile(r"blk\.(0|[1-9][0-9]{0,4})\.([a-z_]+)\.(weight|bias)")
_WHOLE_NAME = re.compile(r"([a-z_]+)\.(weight|bias)")


def canonical_name(name: str, architecture: str | None = None) -> str:
    """The Hugging Face name of a GGUF tensor; a name without one stays as it is."""
    if match := LAYER_NAME.fullmatch(name):
        layer, part, kind = match.groups()
        known = family(architecture).names.get(part) or _LAYER.get(part)
        return f"model.layers.{layer}.{known}.{kind}" if known else name
    if match := _WHOLE_NAME.fullmatch(name):
        part, kind = match.groups()
        return f"{_WHOLE[part]}.{kind}" if part in _WHOLE else name
    return name
