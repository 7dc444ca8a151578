"""StarCoder2: layer norms, biases everywhere, an FFN without a gate, a sliding window."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import sequential_layer
from realizar.architectures.rope import Rotation


class StarCoder2(Decoder):
    """Source: Lozhkov et al. 2024, arXiv:2402.19173, section 6."""

    name = "starcoder2"
    model_types = ("starcoder2",)
    norm_op = "layer_norm"

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        sequential_layer(b, rotate, b.plain_ffn)
