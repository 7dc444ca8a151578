"""Falcon: parallel sublayers under one layer norm or two, rotary positions or linear biases."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import layer_of
from realizar.architectures.rope import Rotation


class Falcon(Decoder):
    """Source: Almazrouei et al. 2023, arXiv:2311.16867, section 4."""

    name = "falcon"
    model_types = ("falcon",)
    norm_op = "layer_norm"

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        layer_of(b, None if b.config.alibi_bias_max else rotate, b.plain_ffn)
