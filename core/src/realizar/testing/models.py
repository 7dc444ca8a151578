"""Small random models: complete, runnable, and the same for the same seed. Needs neither pytest nor hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from realizar.dtypes import DType, dtype
from realizar.model import ModelConfig, ModelFile, TokenizerSpec
from realizar.quant import fp8, quantize
from realizar.tensors import Array, LazyTensor
from realizar.testing.blocks import random_blocks
from realizar.testing.vocabulary import tiny_tokenizer

_QUANTIZABLE = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
"""Types that `quantize` writes."""


@attrs.frozen
class TinyModel:
    """A model in memory. tensors: by their Hugging Face names, in the order a file would have."""

    config: ModelConfig
    tensors: Mapping[str, LazyTensor]
    tokenizer: TokenizerSpec
    metadata: Mapping[str, object] = attrs.field(factory=dict)

    def open(self) -> ModelFile:
        """The same as an open file of the format "memory"."""
        return ModelFile(Path("tiny"), "memory", self.config, self.tensors, self.tokenizer, self.metadata)


def tiny_model(
    weight_type: str = "F32", *, seed: int = 0, tied: bool = True, biased: bool = False, **changes: Any
) -> TinyModel:
    """A llama model of 2 layers with random weights of `weight_type`; norms and biases are F32.

    hidden_size is 64, or one block where that is longer, so that every row is whole blocks. tied: the output layer is
    the embedding. biased: q, k and v have biases. changes: other values of ModelConfig's fields.
    """
    element = dtype(weight_type)
    hidden = max(64, element.block_size)
    tokenizer = tiny_tokenizer()
    sizes: dict[str, Any] = {
        "model_type": "llama", "vocab_size": len(tokenizer.tokens), "hidden_size": hidden,
        "intermediate_size": 2 * hidden, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": hidden // 4, "max_position_embeddings": 256, "rms_norm_eps": 2.0**-17,
    }  # fmt: skip
    config = ModelConfig(**(sizes | changes))
    rng = np.random.default_rng(seed)
    tensors = {name: _random_tensor(name, shape, element, rng) for name, shape in _shapes(config, tied, biased).items()}
    return TinyModel(config, tensors, tokenizer)


def tiny_encoder(*, seed: int = 0, **changes: Any) -> TinyModel:
    """A bert model of 2 layers with random F32 weights that gives embeddings: means of hidden states, normalized."""
    tokenizer = tiny_tokenizer()
    sizes: dict[str, Any] = {
        "model_type": "bert", "vocab_size": len(tokenizer.tokens), "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16,
        "max_position_embeddings": 128, "layer_norm_eps": 1e-6, "hidden_act": "gelu", "is_causal": False,
        "type_vocab_size": 2, "pooling_type": "mean", "normalize_embeddings": True,
    }  # fmt: skip
    config, element, rng = ModelConfig(**(sizes | changes)), dtype("F32"), np.random.default_rng(seed)
    tensors = {name: _random_tensor(name, shape, element, rng) for name, shape in _encoder_shapes(config).items()}
    return TinyModel(config, tensors, tokenizer)


def write_tiny(
    path: Path, write: Callable[[Path, TinyModel], object], weight_type: str = "F32", **options: Any
) -> TinyModel:
    """Make a `tiny_model`, write it with a format's own writer and return it."""
    model = tiny_model(weight_type, **options)
    write(path, model)
    return model


def memory_tensor(name: str, stored: Array, element: DType) -> LazyTensor:
    """A tensor whose stored bytes are in memory, and read-only as a mapped file's are."""
    stored.setflags(write=False)
    shape = stored.shape
    if element.is_quantized:
        shape = (*shape[:-1], shape[-1] // element.block_nbytes * element.block_size)
    return LazyTensor(name, shape, element, f"memory: {name}", lambda: stored)


def random_weights(shape: tuple[int, ...], element: DType, rng: np.random.Generator) -> Array:
    """Stored random weights of any type, as `LazyTensor.read` gives them, all finite.

    Types with a quantizer are normal with variance 1 / shape[-1]; 8-bit floats are any codes up to 1/8 in magnitude;
    integers are -8 to 8, unsigned ones and truth values 0 or 1; blocks are `random_blocks`.
    """
    if element.name in _QUANTIZABLE:
        return quantize((rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32), element)
    if element.is_quantized:
        rows = random_blocks(element, int(np.prod(shape[:-1])), shape[-1], rng)
        return rows.reshape(*shape[:-1], -1)
    if element.name == "F64":
        values: Array = rng.standard_normal(shape) / np.sqrt(shape[-1])
        return values
    if element.name in fp8.VALUES:
        return rng.choice(np.flatnonzero(np.abs(fp8.VALUES[element.name]) <= 1 / 8), shape).astype(np.uint8)
    low, high = (0, 1) if np.dtype(element.storage).kind == "u" else (-8, 8)
    return rng.integers(low, high + 1, shape).astype(element.storage)


def _random_tensor(name: str, shape: tuple[int, ...], element: DType, rng: np.random.Generator) -> LazyTensor:
    if len(shape) > 1:
        return memory_tensor(name, random_weights(shape, element, rng), element)
    # Blocks are louder than normal weights; the norm before them keeps the softmax from saturating.
    level = 0.0 if name.endswith("bias") else 1.0 if element.name in _QUANTIZABLE else 0.25
    return memory_tensor(name, (level + 0.1 * rng.standard_normal(shape)).astype(np.float32), dtype("F32"))


def _encoder_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, ffn = config.hidden_size, config.intermediate_size
    tables = {
        "tokens": config.vocab_size, "positions": config.max_position_embeddings,
        "token_types": config.type_vocab_size or 0,
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {f"model.embed_{name}.weight": (n, hidden) for name, n in tables.items() if n}
    layer: dict[str, tuple[int, ...]] = {f"self_attn.{part}_proj": (hidden, hidden) for part in "qkvo"}
    layer |= {"mlp.up_proj": (ffn, hidden), "mlp.down_proj": (hidden, ffn)}
    layer |= {"post_attention_layernorm": (hidden,), "post_feedforward_layernorm": (hidden,)}
    parts = {f"model.layers.{i}.{name}": size for i in range(config.num_hidden_layers) for name, size in layer.items()}
    for name, size in {"model.embed_layernorm": (hidden,), **parts}.items():
        shapes |= {f"{name}.weight": size, f"{name}.bias": size[:1]}
    return shapes


def _shapes(config: ModelConfig, tied: bool, biased: bool) -> dict[str, tuple[int, ...]]:
    hidden, ffn = config.hidden_size, config.intermediate_size
    query, key = (heads * config.head_dim for heads in (config.num_attention_heads, config.num_key_value_heads))
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (query, hidden),
        "self_attn.k_proj.weight": (key, hidden),
        "self_attn.v_proj.weight": (key, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (ffn, hidden),
        "mlp.up_proj.weight": (ffn, hidden),
        "mlp.down_proj.weight": (hidden, ffn),
    }
    if biased:
        layer |= {f"self_attn.{p}_proj.bias": (size,) for p, size in (("q", query), ("k", key), ("v", key))}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for i in range(config.num_hidden_layers):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    return shapes if tied else shapes | {"lm_head.weight": (config.vocab_size, hidden)}
