"""BERT and RoBERTa: learned positions, a norm after each sublayer, an FFN without a gate."""

from __future__ import annotations

from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.encoder import Encoder
from realizar.architectures.layers import post_norm_layer
from realizar.architectures.rope import Rotation


class Bert(Encoder):
    """Source: Devlin et al. 2018, arXiv:1810.04805, section 3; Vaswani et al. 2017, arXiv:1706.03762, section 3.1."""

    name = "bert"
    model_types = ("bert", "roberta", "xlm-roberta", "camembert")

    def add_positions(self, b: DecoderBuilder) -> None:
        b.embedding("positions", "embed_positions", b.config.max_position_embeddings, "position")
        b.add("add", ("x", "position"), "x")

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        post_norm_layer(b, None, b.plain_ffn)
