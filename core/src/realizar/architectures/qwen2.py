"""Qwen2 and Qwen2.5: Llama with biases on queries, keys and values."""

from __future__ import annotations

from realizar.architectures.llama import Llama


class Qwen2(Llama):
    """Biases are there where the file has them. Source: Yang et al. 2024, arXiv:2407.10671, section 2.2."""

    name = "qwen2"
    model_types = ("qwen2",)
