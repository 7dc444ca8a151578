"""MPT: layer norms without biases, linear biases instead of rotary positions, an FFN without a gate."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import sequential_layer
from realizar.architectures.rope import Rotation
from realizar.errors import ModelError


class MPT(Decoder):
    """Source: MosaicML 2023, MPT-7B; positions: see `alibi`."""

    name = "mpt"
    model_types = ("mpt",)
    norm_op = "layer_norm"

    def embed(self, b: DecoderBuilder) -> None:
        if b.config.alibi_bias_max is None:
            raise ModelError("this mpt model has no alibi_bias_max; learned positions are not implemented")
        super().embed(b)

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        sequential_layer(b, None, b.plain_ffn)
