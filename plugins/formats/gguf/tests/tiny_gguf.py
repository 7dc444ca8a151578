"""Writes a TinyModel as a GGUF file, by the converter's rules."""

from __future__ import annotations

import re
from pathlib import Path

from realizar.model import TokenizerSpec
from realizar.tensors import Array, LazyTensor
from realizar.testing.models import TinyModel
from realizar_gguf.writer import Tensor, write_gguf

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip

MODELS = {"bpe": "gpt2"}


def write_tiny_gguf(path: Path, model: TinyModel) -> None:
    """`model` as GGUF version 3; q and k rows interleaved, as the converter leaves them for llama."""
    write_gguf(path, metadata(model), [_tensor(tensor, model) for tensor in model.tensors.values()])


def metadata(model: TinyModel) -> dict[str, object]:
    """The keys of a llama model and its tokenizer."""
    config, prefix = model.config, model.config.model_type
    keys = {
        "general.architecture": prefix,
        f"{prefix}.vocab_size": config.vocab_size,
        f"{prefix}.embedding_length": config.hidden_size,
        f"{prefix}.feed_forward_length": config.intermediate_size,
        f"{prefix}.block_count": config.num_hidden_layers,
        f"{prefix}.attention.head_count": config.num_attention_heads,
        f"{prefix}.attention.head_count_kv": config.num_key_value_heads,
        f"{prefix}.attention.key_length": config.head_dim,
        f"{prefix}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{prefix}.context_length": config.max_position_embeddings,
        f"{prefix}.rope.freq_base": config.rope_theta,
    }
    return {**keys, **_tokenizer(model.tokenizer)}


def gguf_name(name: str) -> str:
    """GGUF's name of a Hugging Face tensor."""
    match = re.fullmatch(r"(?:model\.layers\.(\d+)\.)?(.+)\.(weight|bias)", name)
    assert match is not None, name
    layer, part, kind = match.groups()
    return f"{'' if layer is None else f'blk.{layer}.'}{NAMES[part]}.{kind}"


def _tensor(tensor: LazyTensor, model: TinyModel) -> Tensor:
    stored, config = tensor.read(), model.config
    if ".q_proj." in tensor.name:
        stored = _interleaved(stored, config.num_attention_heads)
    elif ".k_proj." in tensor.name:
        stored = _interleaved(stored, config.num_key_value_heads)
    return gguf_name(tensor.name), tensor.shape, tensor.dtype, stored


def _interleaved(stored: Array, heads: int) -> Array:
    """Rows [heads, 2, d/2] as [heads, d/2, 2]."""
    halves = stored.reshape(heads, 2, len(stored) // heads // 2, *stored.shape[1:])
    return halves.swapaxes(1, 2).reshape(stored.shape)


def _tokenizer(spec: TokenizerSpec) -> dict[str, object]:
    values = {
        "model": MODELS.get(spec.model, spec.model),
        "pre": spec.pre,
        "tokens": spec.tokens,
        "token_type": spec.token_types,
        "merges": spec.merges,
        "bos_token_id": spec.bos_token_id,
        "eos_token_id": spec.eos_token_ids[0] if spec.eos_token_ids else None,
        "add_bos_token": spec.add_bos_token,
        "add_eos_token": spec.add_eos_token,
    }
    keys: dict[str, object] = {f"tokenizer.ggml.{name}": v for name, v in values.items() if v is not None}
    return keys if spec.chat_template is None else {**keys, "tokenizer.chat_template": spec.chat_template}
