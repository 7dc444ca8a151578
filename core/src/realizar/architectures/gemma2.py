"""Gemma 2: norms before and after each sublayer, soft caps, every other layer sliding."""

from __future__ import annotations

from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.gemma import Gemma
from realizar.architectures.rope import Rotation


class Gemma2(Gemma):
    """Caps and windows are fields of the configuration. Source: Gemma Team 2024, arXiv:2408.00118, section 2."""

    name = "gemma2"
    model_types = ("gemma2",)

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        b.norm("x", "input_layernorm")
        self.attention(b, rotate)
        b.norm("mixed", "post_attention_layernorm", "mixed")
        b.residual()
        b.norm("x", "pre_feedforward_layernorm")
        b.gated_ffn()
        b.norm("mixed", "post_feedforward_layernorm", "mixed")
        b.residual()

    def attention(self, b: DecoderBuilder, rotate: Rotation) -> None:
        """mixed from normed."""
        b.attention(rotate=rotate)
