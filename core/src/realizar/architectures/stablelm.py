"""StableLM: Llama with layer norms, rotary positions on part of a head; perhaps parallel sublayers, norms of heads."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import layer_of
from realizar.architectures.rope import Rotation


class StableLM(Decoder):
    """Source: Bellagente et al. 2024, arXiv:2402.17834, section 3."""

    name = "stablelm"
    model_types = ("stablelm",)
    norm_op = "layer_norm"

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        layer_of(b, rotate, b.gated_ffn, b.norms_of_each_head() if b.config.use_qk_norm else None)
