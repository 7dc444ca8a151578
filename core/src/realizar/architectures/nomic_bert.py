"""Nomic BERT: BERT with rotary positions, a gated FFN and no biases in its layers."""

from __future__ import annotations

from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.encoder import Encoder
from realizar.architectures.layers import post_norm_layer
from realizar.architectures.rope import Rotation


class NomicBert(Encoder):
    """Source: Nussbaum et al. 2024, arXiv:2402.01613, section 3.1."""

    name = "nomic_bert"
    model_types = ("nomic_bert",)

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        post_norm_layer(b, rotate, b.gated_ffn)
