"""Qwen2-MoE: Qwen2 with a mixture of experts beside one that every row goes through."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.rope import Rotation


class Qwen2MoE(Decoder):
    """Source: Yang et al. 2024, arXiv:2407.10671, section 2.2.2."""

    name = "qwen2_moe"
    model_types = ("qwen2_moe",)

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        b.norm("x", "input_layernorm")
        b.attention(rotate=rotate)
        b.residual()
        b.norm("x", "post_attention_layernorm")
        if b.config.is_sparse(b.layer_id or 0):
            b.sparse_ffn()
            b.shared_ffn()
            b.residual("shared")
        else:
            b.gated_ffn()
        b.residual()
