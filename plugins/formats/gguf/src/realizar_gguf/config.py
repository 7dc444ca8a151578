"""GGUF's model keys in Hugging Face's terms. Source: GGUF specification, "Standardized key-value pairs"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from realizar.errors import FormatError
from realizar.model import ModelConfig, structure_config
from realizar_gguf.arrays import NumberArray
from realizar_gguf.metadata import INTEGERS, Metadata, ValueType
from realizar_gguf.tensor_index import TensorInfo

MAX_SIZE = (1 << 31) - 1

_REQUIRED = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "context_length": "max_position_embeddings",
}


class Incomplete(Exception):
    """The file does not describe a model that ModelConfig can express; says which key is why."""


def read_config(metadata: Metadata, tensors: Iterable[TensorInfo]) -> ModelConfig:
    """The configuration; raises Incomplete if keys are missing, FormatError if they contradict each other."""
    shapes = {info.name: info for info in tensors}
    architecture = metadata.string("general.architecture")
    if architecture is None:
        raise Incomplete("the file has no key general.architecture")
    keys = _Keys(metadata, architecture)
    values: dict[str, Any] = {"model_type": architecture}
    for key, name in _REQUIRED.items():
        values[name] = keys.required(key)
    if shapes and values["num_hidden_layers"] > len(shapes):
        raise keys.error("block_count", f"at most {len(shapes)}, the number of tensors")
    values["num_key_value_heads"] = keys.size("attention.head_count_kv") or values["num_attention_heads"]
    values["head_dim"] = _head_dim(keys, values)
    values["vocab_size"] = _vocab_size(keys, metadata, shapes.get("token_embd.weight"))
    values |= _rotary(keys, values["head_dim"])
    if (epsilon := keys.number("attention.layer_norm_rms_epsilon")) is not None:
        values["rms_norm_eps"] = epsilon
    if (sliding_window := keys.size("attention.sliding_window")) is not None:
        values["sliding_window"] = sliding_window
    if keys.size("attention.value_length") not in (None, values["head_dim"]):
        keys.understood.discard(f"{architecture}.attention.value_length")
    return structure_config(values, metadata.file, keys.unknown())


class _Keys:
    """The keys of one architecture; remembers which were understood."""

    def __init__(self, metadata: Metadata, architecture: str) -> None:
        self.metadata = metadata
        self.architecture = architecture
        self.understood: set[str] = set()

    def error(self, key: str, expected: str) -> FormatError:
        return self.metadata.error(f"{self.architecture}.{key}", expected)

    def size(self, key: str) -> int | None:
        """An integer from 1 to 2^31 - 1; an array of one number for all layers counts as that number."""
        full = self._understand(key)
        entry = self.metadata.entries.get(full)
        if entry is None or not entry.is_array:
            return self.metadata.integer(full, 1, MAX_SIZE)
        if entry.type not in INTEGERS or not isinstance(entry.value, NumberArray):
            raise self.error(key, "an integer, or an array of integers, one for each layer")
        distinct = set(entry.value)
        if len(distinct) != 1:
            raise Incomplete(f"{full} varies from layer to layer")
        (value,) = distinct
        if not 1 <= value <= MAX_SIZE:
            raise self.error(key, f"integers from 1 to {MAX_SIZE}")
        return int(value)

    def required(self, key: str) -> int:
        value = self.size(key)
        if value is None:
            raise Incomplete(f"the file has no key {self.architecture}.{key}")
        return value

    def number(self, key: str) -> float | None:
        return self.metadata.number(self._understand(key))

    def string(self, key: str) -> str | None:
        return self.metadata.string(self._understand(key))

    def unknown(self) -> tuple[str, ...]:
        prefix = f"{self.architecture}."
        return tuple(sorted(key for key in self.metadata if key.startswith(prefix) and key not in self.understood))

    def _understand(self, key: str) -> str:
        full = f"{self.architecture}.{key}"
        self.understood.add(full)
        return full


def _head_dim(keys: _Keys, values: dict[str, Any]) -> int:
    """attention.key_length, or the hidden size shared out among the heads."""
    num_heads, num_kv_heads = values["num_attention_heads"], values["num_key_value_heads"]
    if num_heads % num_kv_heads:
        raise keys.error("attention.head_count_kv", f"a divisor of {num_heads}, the number of query heads")
    key_length = keys.size("attention.key_length")
    if key_length is not None:
        return key_length
    head_dim, rest = divmod(values["hidden_size"], num_heads)
    if rest or not head_dim:
        raise keys.error("attention.head_count", f"a divisor of {values['hidden_size']}, the embedding length")
    return int(head_dim)


def _vocab_size(keys: _Keys, metadata: Metadata, embedding: TensorInfo | None) -> int:
    """The key, the token list and the embedding's rows must agree as far as they are there."""
    tokens = metadata.array("tokenizer.ggml.tokens", ValueType.STRING)
    sizes = {
        f"{keys.architecture}.vocab_size": keys.size("vocab_size"),
        "tokenizer.ggml.tokens": None if tokens is None else len(tokens),
        "token_embd.weight": embedding.shape[0] if embedding and embedding.shape else None,
    }
    present = {where: size for where, size in sizes.items() if size is not None}
    if not present:
        raise Incomplete(f"the file has none of {', '.join(sizes)}")
    if len(set(present.values())) > 1:
        found = ", ".join(f"{size} in {where}" for where, size in present.items())
        key = next((where for where in present if where in metadata.entries), None)
        assert key is not None
        raise metadata.error(key, f"one vocabulary size, not {found}")
    return next(iter(present.values()))


def _rotary(keys: _Keys, head_dim: int) -> dict[str, Any]:
    """rope_theta, rotary_dim and rope_scaling as far as the file gives them."""
    values: dict[str, Any] = {}
    if (theta := keys.number("rope.freq_base")) is not None:
        values["rope_theta"] = theta
    if (rotary_dim := keys.size("rope.dimension_count")) is not None:
        if rotary_dim > head_dim or rotary_dim % 2:
            raise keys.error("rope.dimension_count", f"an even number, at most the head's {head_dim}")
        values["rotary_dim"] = rotary_dim
    if (scaling := _rope_scaling(keys)) is not None:
        values["rope_scaling"] = scaling
    return values


def _rope_scaling(keys: _Keys) -> dict[str, Any] | None:
    """The fields of RopeScaling. A factor without a type means linear, as does the older key rope.scale_linear."""
    kind = keys.string("rope.scaling.type")
    factor = keys.number("rope.scaling.factor") or keys.number("rope.scale_linear")
    original = keys.size("rope.scaling.original_context_length")
    if kind == "none" or (kind is None and factor is None):
        return None
    return {
        "rope_type": kind or "linear",
        "factor": factor or 1.0,
        "original_max_position_embeddings": original,
    }
