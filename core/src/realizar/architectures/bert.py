"""BERT and RoBERTa: token, position and text embeddings under a norm, then layers with a norm after each sublayer."""

from __future__ import annotations

from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.encoder import Encoder
from realizar.architectures.rope import Rotation


class Bert(Encoder):
    """Source: Devlin et al. 2018, arXiv:1810.04805, section 3; Vaswani et al. 2017, arXiv:1706.03762, section 3.1."""

    name = "bert"
    model_types = ("bert", "roberta", "xlm-roberta", "camembert")

    def embed(self, b: DecoderBuilder) -> None:
        super().embed(b)
        if b.config.type_vocab_size is not None:
            b.embedding("token_type_ids", "embed_token_types", b.config.type_vocab_size, "token_type")
            b.add("add", ("x", "token_type"), "x")
        b.embedding("positions", "embed_positions", b.config.max_position_embeddings, "position")
        b.add("add", ("x", "position"), "x")
        b.norm("x", "embed_layernorm", "x")

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        b.attention("x")
        b.residual()
        b.norm("x", "post_attention_layernorm", "x")
        b.plain_ffn("x")
        b.residual()
        b.norm("x", "post_feedforward_layernorm", "x")
