"""ggml's names in Hugging Face's terms. GGUF files have them, and files that were made of GGUF files.

Source: llama.cpp `gguf-py/gguf/constants.py`, TENSOR_NAMES; `src/llama-vocab.cpp`.
"""

from __future__ import annotations

WHOLE = {
    "token_embd": "model.embed_tokens",
    "token_embd_norm": "model.embed_layernorm",
    "position_embd": "model.embed_positions",
    "token_types": "model.embed_token_types",
    "output_norm": "model.norm",
    "output": "lm_head",
    "rope_freqs": "model.rope_freqs",
    "rope_factors_long": "model.rope_factors_long",
    "rope_factors_short": "model.rope_factors_short",
}
"""Of the whole model; `.weight` or `.bias` follows."""

LAYER = {
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
"""Of a layer: what follows `blk.N.`, and what follows `model.layers.N.`."""

BOS_BY_PRE = frozenset(
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano tekken chameleon".split()
)
"""Pre-tokenizers of byte-level vocabularies that begin a text with BOS."""
