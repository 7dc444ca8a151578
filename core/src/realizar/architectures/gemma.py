"""Gemma: Llama with a scaled embedding; norm weights are the factors, as in `gemma3`."""

from __future__ import annotations

import math

from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.llama import Llama


class Gemma(Llama):
    """Source: Gemma Team 2024, arXiv:2403.08295, section 2."""

    name = "gemma"
    model_types = ("gemma",)

    def embed(self, b: DecoderBuilder) -> None:
        """x from input_ids, times the square root of its width."""
        config = b.config
        b.embedding("input_ids", "embed_tokens", config.vocab_size, "x", scale=math.sqrt(config.hidden_size))
