"""Llama 2 and 3, SmolLM2, TinyLlama, Mistral: pre-norm layers, rotary positions, grouped queries, gated FFN."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder, DecoderBuilder
from realizar.architectures.rope import Rotation


class Llama(Decoder):
    """Source: Touvron et al. 2023, arXiv:2302.13971; sliding window: Jiang et al. 2023, arXiv:2310.06825."""

    name = "llama"
    model_types = ("llama", "mistral")

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        b.norm("x", "input_layernorm")
        b.attention(rotate=rotate)
        b.residual()
        b.norm("x", "post_attention_layernorm")
        b.gated_ffn()
        b.residual()
