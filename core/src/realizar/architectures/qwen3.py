"""Qwen3: Llama with a norm on each head's queries and keys."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.rope import Rotation


class Qwen3(Decoder):
    """Source: Yang et al. 2025, arXiv:2505.09388, section 2."""

    name = "qwen3"
    model_types = ("qwen3",)

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        b.norm("x", "input_layernorm")
        b.attention(rotate=rotate, qk_norm=b.norm_of_heads())
        b.residual()
        b.norm("x", "post_attention_layernorm")
        self.ffn(b)
        b.residual()

    def ffn(self, b: DecoderBuilder) -> None:
        """mixed from normed."""
        b.gated_ffn()
