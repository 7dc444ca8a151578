"""GPT-NeoX and Pythia: parallel sublayers, each with its layer norm, rotary positions on part of a head."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import layer_of
from realizar.architectures.rope import Rotation


class GPTNeoX(Decoder):
    """Source: Black et al. 2022, arXiv:2204.06745, section 2.1."""

    name = "gpt_neox"
    model_types = ("gpt_neox",)
    norm_op = "layer_norm"

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        layer_of(b, rotate, b.plain_ffn)
