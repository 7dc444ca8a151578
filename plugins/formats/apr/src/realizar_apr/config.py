"""The model's sizes and constants among the metadata, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from realizar.errors import FormatError, ModelError
from realizar.huggingface import read_hf_config
from realizar.huggingface.json_file import parse_json
from realizar.huggingface.json_object import JsonObject
from realizar.model import ModelConfig, structure_config
from realizar_apr.metadata import FIELDS, one_spelling

CONFIG_KEY = "realizar.config"
"""What aprender has no key for: the other fields of ModelConfig that are not at their defaults."""

ROPE_SIDE_BY_SIDE, ROPE_HALVES = 0, 2
"""Values of rope_type: how the rows of q and k hold rotary pairs."""

_ARCHITECTURES = {
    "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gptneox": "gpt_neox", "phi2": "phi", "gemma3": "gemma3_text",
    "command-r": "cohere",
}  # fmt: skip
"""GGUF's names of architectures, which files made from GGUF keep, where Hugging Face has another."""

_CHECKPOINT = "entrenar-checkpoint"
_CHECKPOINT_NAMES = {"architecture": ("hf_architecture", "architecture"), "head_dim": ("head_dim_override",)}


def read_config(metadata: JsonObject, vocab_size: int | None) -> ModelConfig:
    """The configuration in a file of another writer; vocab_size: rows of the embedding.

    Raises ModelError saying what is missing or not known.
    """
    given = _given(metadata)
    values = {field: one_spelling(given, names, metadata.source) for field, names in FIELDS.items()}
    values["vocab_size"] = values["vocab_size"] or vocab_size
    values["layer_norm_eps"] = values["rms_norm_eps"]  # one key serves both kinds of norm
    kinds = {field.name for field in attrs.fields(ModelConfig)} - set(values) - {"unknown"}
    values |= {name: given[name] for name in kinds if name in given}
    values["model_type"] = _model_type(given, metadata.source)
    return read_hf_config({name: value for name, value in values.items() if value is not None}, metadata.source)


def read_our_config(metadata: JsonObject) -> ModelConfig:
    """The configuration in a file that realizar wrote; raises ModelError if it has none."""
    rest = metadata.get(CONFIG_KEY, dict)
    if rest is None:
        raise ModelError(f"{metadata.source}: the file was written without a model configuration")
    values = {field: metadata.values.get(names[0]) for field, names in FIELDS.items()}
    present = {field: value for field, value in values.items() if value is not None}
    return structure_config({"model_type": metadata.values.get("architecture"), **present, **rest}, metadata.source)


def _given(metadata: JsonObject) -> Mapping[str, Any]:
    """Where the keys are: a training checkpoint has them in a JSON text of its own."""
    if not is_checkpoint(metadata):
        return metadata.values
    inner = parse_json(metadata.required("model_config", str), f"{metadata.source}: model_config")
    renamed = {key: one_spelling(inner, names, metadata.source) for key, names in _CHECKPOINT_NAMES.items()}
    return {**inner, **renamed}


def is_checkpoint(metadata: JsonObject) -> bool:
    """Whether entrenar wrote the file while training."""
    return metadata.values.get("format") == _CHECKPOINT


def _model_type(given: Mapping[str, Any], source: str) -> str:
    """`architecture`, else `model_type`, under Hugging Face's name."""
    for key in ("architecture", "model_type"):
        name = given.get(key)
        if isinstance(name, str) and name.lower() not in ("", "auto", "unknown"):
            name = _ARCHITECTURES.get(name.lower(), name.lower())
            return "mixtral" if name == "llama" and given.get("num_experts") else name
    raise ModelError(f"{source}: there is no architecture; expected the name of a model family")


def config_keys(config: ModelConfig | None) -> dict[str, Any]:
    """The metadata of a configuration."""
    if config is None:
        return {"model_type": "unknown", "architecture": None, **{names[0]: None for names in FIELDS.values()}}
    values = attrs.asdict(config)
    defaults = {field.name: field.default for field in attrs.fields(ModelConfig)}
    rest = {name: value for name, value in values.items() if name not in FIELDS and value != defaults[name]}
    for name in ("model_type", "unknown"):
        rest.pop(name, None)
    return {
        "model_type": config.model_type,
        "architecture": config.model_type,
        **{names[0]: values[field] for field, names in FIELDS.items()},
        "rope_type": ROPE_HALVES,
        CONFIG_KEY: rest,
    }


def rotary_pairs_lie_side_by_side(metadata: JsonObject, config: ModelConfig, ggml_names: bool) -> bool:
    """Whether q and k have the two rows of a rotary pair next to each other.

    rope_type says it, unless the tensors are Hugging Face's own; without it, files of GGUF's names have GGUF's order.
    """
    if metadata.values.get("original_format") in ("safetensors", "pytorch"):
        return False
    rope_type = metadata.get("rope_type", int)
    if rope_type not in (None, ROPE_SIDE_BY_SIDE, ROPE_HALVES):
        expected = f"{ROPE_SIDE_BY_SIDE} (pairs side by side) or {ROPE_HALVES} (halves)"
        raise FormatError(f"{metadata.source}: found rope_type {rope_type}, expected {expected}")
    if rope_type is None:
        return ggml_names and config.model_type in _SIDE_BY_SIDE_IN_GGUF
    return rope_type == ROPE_SIDE_BY_SIDE


_SIDE_BY_SIDE_IN_GGUF = frozenset("llama mistral mixtral granite smollm3 cohere".split())
"""Source: llama.cpp, `llama_model_rope_type`."""
