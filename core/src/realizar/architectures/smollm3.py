"""SmolLM3: Llama without rotary positions in every fourth layer."""

from __future__ import annotations

from realizar.architectures.llama import Llama


class SmolLM3(Llama):
    """Which layers is a field of the configuration. Source: Yang et al. 2025, arXiv:2501.18795 (NoPE layers)."""

    name = "smollm3"
    model_types = ("smollm3",)
