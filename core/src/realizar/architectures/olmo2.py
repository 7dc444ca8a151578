"""OLMo 2: norms after each sublayer only, and on whole rows of queries and keys."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.rope import Rotation


class OLMo2(Decoder):
    """Source: OLMo Team 2024, arXiv:2501.00656, section 3."""

    name = "olmo2"
    model_types = ("olmo2",)

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        config = b.config
        query, key = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        b.attention("x", rotate=rotate, qk_norm=((query,), (key,)))
        b.norm("mixed", "post_attention_layernorm", "mixed")
        b.residual()
        b.gated_ffn("x")
        b.norm("mixed", "post_feedforward_layernorm", "mixed")
        b.residual()
