"""Qwen3-MoE: Qwen3 whose feed-forward is a mixture of experts."""

from __future__ import annotations

from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.qwen3 import Qwen3


class Qwen3MoE(Qwen3):
    """Source: Yang et al. 2025, arXiv:2505.09388, section 2."""

    name = "qwen3_moe"
    model_types = ("qwen3_moe",)

    def ffn(self, b: DecoderBuilder) -> None:
        if b.config.is_sparse(b.layer_id or 0):
            b.sparse_ffn()
        else:
            b.gated_ffn()
