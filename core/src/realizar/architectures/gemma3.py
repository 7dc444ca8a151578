"""Gemma 3: norms before and after each sublayer, normed queries and keys, five sliding layers to a full one."""

from __future__ import annotations

import math

from realizar.architectures.decoder import Decoder, DecoderBuilder
from realizar.architectures.rope import Rotation


class Gemma3(Decoder):
    """Source: Gemma Team 2025, arXiv:2503.19786, section 2.

    Norm weights are the factors themselves; a format that stores them less one adds it (see `huggingface.tensors`).
    """

    name = "gemma3"
    model_types = ("gemma3_text",)

    def embed(self, b: DecoderBuilder) -> None:
        b.embedding("input_ids", "embed_tokens", b.config.vocab_size, "x", scale=math.sqrt(b.config.hidden_size))

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        b.norm("x", "input_layernorm")
        b.attention(rotate=rotate, qk_norm=(b.config.head_dim, b.config.head_dim))
        b.norm("mixed", "post_attention_layernorm", "mixed")
        b.residual()
        b.norm("x", "pre_feedforward_layernorm")
        b.gated_ffn()
        b.norm("mixed", "post_feedforward_layernorm", "mixed")
        b.residual()
