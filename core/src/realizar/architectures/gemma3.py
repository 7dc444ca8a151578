"""Gemma 3: Gemma 2 with normed queries and keys instead of soft caps, and five sliding layers to a full one."""

from __future__ import annotations

from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.gemma2 import Gemma2
from realizar.architectures.rope import Rotation


class Gemma3(Gemma2):
    """Source: Gemma Team 2025, arXiv:2503.19786, section 2.

    Norm weights are the factors themselves; a format that stores them less one adds it (see `huggingface.tensors`).
    """

    name = "gemma3"
    model_types = ("gemma3_text",)

    def attention(self, b: DecoderBuilder, rotate: Rotation) -> None:
        b.attention(rotate=rotate, qk_norm=b.norm_of_heads())
