"""Llama 2 and 3, SmolLM2, TinyLlama, Mistral: pre-norm layers, rotary positions, grouped queries, gated FFN."""

from __future__ import annotations

from collections.abc import Mapping

from realizar.architectures.architecture import Architecture, BlockBuilder
from realizar.architectures.rope import inverse_frequencies
from realizar.graph import Block, Graph
from realizar.model import ModelConfig
from realizar.tensors import LazyTensor


class Llama(Architecture):
    """Source: Touvron et al. 2023, arXiv:2302.13971; sliding window: Jiang et al. 2023, arXiv:2310.06825."""

    name = "llama"
    model_types = ("llama", "mistral")

    def build(self, config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> Graph:
        inv_freq = inverse_frequencies(config, tensors)
        layers = [_layer(i, config, tensors, inv_freq) for i in range(config.num_hidden_layers)]
        query, key = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
        values = {
            "x": config.hidden_size, "normed": config.hidden_size, "mixed": config.hidden_size,
            "q": query, "k": key, "v": key, "attended": query,
            "gate": config.intermediate_size, "up": config.intermediate_size,
            "last": config.hidden_size, "logits": config.vocab_size,
        }  # fmt: skip
        return Graph((_embed(config, tensors), *layers, _head(config, tensors)), values)


def _embed(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> Block:
    b = BlockBuilder("embed", "model.", tensors)
    table = b.weight("embed_tokens.weight", config.vocab_size, config.hidden_size)
    b.add("embedding", ("input_ids", table), "x", scale=1.0)
    return b.build()


def _layer(i: int, config: ModelConfig, tensors: Mapping[str, LazyTensor], inv_freq: tuple[float, ...]) -> Block:
    b = BlockBuilder(f"layer {i}", f"model.layers.{i}.", tensors, layer_id=i)
    hidden, ffn, head_dim = config.hidden_size, config.intermediate_size, config.head_dim
    query, key = config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim
    rope = {"head_dim": head_dim, "inv_freq": inv_freq, "scale": 1.0}

    b.add("rms_norm", ("x", b.weight("input_layernorm.weight", hidden)), "normed", eps=config.rms_norm_eps)
    b.linear("normed", "self_attn.q_proj", (query, hidden), "q")
    b.linear("normed", "self_attn.k_proj", (key, hidden), "k")
    b.linear("normed", "self_attn.v_proj", (key, hidden), "v")
    b.add("rope", ("q", "positions"), "q", **rope)
    b.add("rope", ("k", "positions"), "k", **rope)
    b.add(
        "attention", ("q", "k", "v"), "attended",
        num_heads=config.num_attention_heads, num_key_value_heads=config.num_key_value_heads, head_dim=head_dim,
        scale=head_dim**-0.5, sliding_window=config.sliding_window or 0, softcap=0.0,
    )  # fmt: skip
    b.linear("attended", "self_attn.o_proj", (hidden, query), "mixed")
    b.add("add", ("x", "mixed"), "x")

    b.add("rms_norm", ("x", b.weight("post_attention_layernorm.weight", hidden)), "normed", eps=config.rms_norm_eps)
    b.linear("normed", "mlp.gate_proj", (ffn, hidden), "gate")
    b.linear("normed", "mlp.up_proj", (ffn, hidden), "up")
    b.add("act_mul", ("gate", "up"), "gate", kind=config.hidden_act)
    b.linear("gate", "mlp.down_proj", (hidden, ffn), "mixed")
    b.add("add", ("x", "mixed"), "x")
    return b.build()


def _head(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> Block:
    b = BlockBuilder("head", "", tensors)
    b.add("gather_rows", ("x", "logits_rows"), "last")
    b.add("rms_norm", ("last", b.weight("model.norm.weight", config.hidden_size)), "last", eps=config.rms_norm_eps)
    table = "lm_head" if "lm_head.weight" in tensors else "model.embed_tokens"
    b.linear("last", table, (config.vocab_size, config.hidden_size), "logits")
    return b.build()
