"""Granite 3: Llama with factors on the embedding, the attention scores, the residuals and the logits."""

from __future__ import annotations

from realizar.architectures.llama import Llama


class Granite(Llama):
    """The factors are fields of the configuration. Source: Granite Team 2024, "Granite 3.0 Language Models"."""

    name = "granite"
    model_types = ("granite",)
