"""Phi-1, 1.5 and 2: parallel sublayers under one layer norm, rotary positions on part of a head."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import parallel_layer
from realizar.architectures.rope import Rotation


class Phi(Decoder):
    """Source: Li et al. 2023, arXiv:2309.05463, section 2.1."""

    name = "phi"
    model_types = ("phi",)
    norm_op = "layer_norm"

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        parallel_layer(b, rotate, b.plain_ffn, b.norm_of_heads() if b.config.use_qk_norm else None)
