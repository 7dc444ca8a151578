"""Mixtral: Llama whose feed-forward is a mixture of experts."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import sequential_layer
from realizar.architectures.rope import Rotation


class Mixtral(Decoder):
    """Source: Jiang et al. 2024, arXiv:2401.04088, section 2.1."""

    name = "mixtral"
    model_types = ("mixtral",)

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        sequential_layer(b, rotate, b.sparse_ffn)
