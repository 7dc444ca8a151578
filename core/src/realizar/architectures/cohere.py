"""Command R: parallel sublayers under one layer norm without a bias, a factor on the logits; in R+, norms of heads."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import parallel_layer
from realizar.architectures.rope import Rotation


class Cohere(Decoder):
    """Source: Cohere 2024, C4AI Command R model card."""

    name = "cohere"
    model_types = ("cohere",)
    norm_op = "layer_norm"

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        parallel_layer(b, rotate, b.gated_ffn, b.norms_of_each_head() if b.config.use_qk_norm else None)
