"""Llama 2 and 3, SmolLM2, TinyLlama, Mistral: pre-norm layers, rotary positions, grouped queries, gated FFN."""

from __future__ import annotations

from typing import ClassVar

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.layers import sequential_layer
from realizar.architectures.rope import Rotation


class Llama(Decoder):
    """Source: Touvron et al. 2023, arXiv:2302.13971; sliding window: Jiang et al. 2023, arXiv:2310.06825."""

    name = "llama"
    model_types: ClassVar[tuple[str, ...]] = ("llama", "mistral")

    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        sequential_layer(b, rotate, b.gated_ffn)
