"""Writes a TinyModel as a Hugging Face directory, as the libraries save one."""

from __future__ import annotations

import json
from pathlib import Path

from realizar.model import CONTROL, NORMAL, ModelConfig, TokenizerSpec
from realizar.testing.models import TinyModel
from realizar_safetensors.writer import write_safetensors

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
"""GPT-2's pre-tokenizer."""


def write_tiny_directory(path: Path, model: TinyModel, **options: int) -> None:
    """`model` as `path` and the JSON files beside it."""
    write_safetensors(path, model.tensors.values(), {"format": "pt"}, **options)  # type: ignore[arg-type]
    write_json(path.with_name("config.json"), config(model.config))
    spec = model.tokenizer
    write_json(path.with_name("generation_config.json"), {"eos_token_id": list(spec.eos_token_ids)})
    write_json(path.with_name("tokenizer.json"), tokenizer_json(spec))
    write_json(path.with_name("tokenizer_config.json"), tokenizer_config(spec))


def write_json(path: Path, values: object) -> None:
    """As the libraries do."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False), encoding="utf-8")


def config(config: ModelConfig) -> dict[str, object]:
    """config.json of a llama model."""
    names = (
        "model_type vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "num_key_value_heads head_dim max_position_embeddings rms_norm_eps rope_theta hidden_act"
    )
    return {"architectures": ["LlamaForCausalLM"]} | {name: getattr(config, name) for name in names.split()}


def tokenizer_json(spec: TokenizerSpec) -> dict[str, object]:
    """tokenizer.json of a byte-level vocabulary with GPT-2's pre-tokenizer."""
    assert spec.pre == "gpt-2" and spec.token_types is not None and spec.bos_token_id is not None
    bos = spec.tokens[spec.bos_token_id]
    plain = [i for i, kind in enumerate(spec.token_types) if kind == NORMAL]
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": spec.tokens[i], "special": kind == CONTROL, "single_word": False, "lstrip": False}
            for i, kind in enumerate(spec.token_types)
            if kind != NORMAL
        ],
        "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {bos: {"id": bos, "ids": [spec.bos_token_id], "tokens": [bos]}},
        },
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE", "dropout": None, "ignore_merges": False, "vocab": {spec.tokens[i]: i for i in plain},
            "merges": [merge.split(" ") for merge in spec.merges or ()],
        },
    }  # fmt: skip


def tokenizer_config(spec: TokenizerSpec) -> dict[str, object]:
    """tokenizer_config.json."""
    assert spec.bos_token_id is not None
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": spec.tokens[spec.bos_token_id],
        "eos_token": {"content": spec.tokens[spec.eos_token_ids[0]], "lstrip": False},
        "chat_template": spec.chat_template,
    }
