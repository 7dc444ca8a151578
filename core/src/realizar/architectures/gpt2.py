"""GPT-2: learned positions, layer norms with biases, an FFN without a gate."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import sequential_layer
from realizar.architectures.rope import Rotation


class GPT2(Decoder):
    """Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3."""

    name = "gpt2"
    model_types = ("gpt2",)
    norm_op = "layer_norm"

    def embed(self, b: DecoderBuilder) -> None:
        super().embed(b)
        b.embedding("positions", "embed_positions", b.config.max_position_embeddings, "position")
        b.add("add", ("x", "position"), "x")

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        sequential_layer(b, None, b.plain_ffn)
