"""BLOOM: a norm on the embedding, linear biases instead of rotary positions, an FFN without a gate."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import sequential_layer
from realizar.architectures.rope import Rotation


class Bloom(Decoder):
    """Source: BigScience 2022, arXiv:2211.05100, section 3.2."""

    name = "bloom"
    model_types = ("bloom",)
    norm_op = "layer_norm"

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        sequential_layer(b, None, b.plain_ffn)

    def embed(self, b: DecoderBuilder) -> None:
        super().embed(b)
        b.norm("x", "embed_layernorm", "x")
