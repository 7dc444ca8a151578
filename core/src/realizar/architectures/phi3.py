"""Phi-3 and Phi-4-mini: Llama with fused projections, which formats cut apart, and longrope."""

from __future__ import annotations

from realizar.architectures.llama import Llama


class Phi3(Llama):
    """Source: Abdin et al. 2024, arXiv:2404.14219; longrope: see `rope`."""

    name = "phi3"
    model_types = ("phi3",)
