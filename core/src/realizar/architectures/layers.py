"""The ways in which most families arrange the sublayers of a layer."""

from __future__ import annotations

from collections.abc import Callable

from realizar.architectures.decoder_builder import DecoderBuilder, QKNorm
from realizar.architectures.rope import Rotation

FFN = Callable[[str, str], str]
"""A feed-forward of the builder, from one value to another."""


def sequential_layer(b: DecoderBuilder, rotate: Rotation | None, ffn: FFN, qk_norm: QKNorm | None = None) -> None:
    """x + attention(norm(x)), then x + ffn(norm(x))."""
    b.norm("x", "input_layernorm")
    b.attention(rotate=rotate, qk_norm=qk_norm)
    b.residual()
    b.norm("x", "post_attention_layernorm")
    ffn("normed", "mixed")
    b.residual()


def parallel_layer(b: DecoderBuilder, rotate: Rotation | None, ffn: FFN, qk_norm: QKNorm | None = None) -> None:
    """x + attention(norm(x)) + ffn(norm(x)), with one norm for both or one for each (num_ln_in_parallel_attn).

    Source: Wang & Komatsuzaki 2021, GPT-J-6B.
    """
    b.norm("x", "input_layernorm")
    b.attention(rotate=rotate, qk_norm=qk_norm)
    if b.config.num_ln_in_parallel_attn == 2:
        b.norm("x", "post_attention_layernorm")
    ffn("normed", "mixed_ffn")
    b.residual()
    b.residual("mixed_ffn")


def post_norm_layer(b: DecoderBuilder, rotate: Rotation | None, ffn: FFN) -> None:
    """norm(x + attention(x)), then norm(x + ffn(x)).

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.1.
    """
    b.attention("x", rotate=rotate)
    b.residual()
    b.norm("x", "post_attention_layernorm", "x")
    ffn("x", "mixed")
    b.residual()
    b.norm("x", "post_feedforward_layernorm", "x")


def layer_of(b: DecoderBuilder, rotate: Rotation | None, ffn: FFN, qk_norm: QKNorm | None = None) -> None:
    """Parallel or sequential, by use_parallel_residual."""
    arrange = parallel_layer if b.config.use_parallel_residual else sequential_layer
    arrange(b, rotate, ffn, qk_norm)
