"""Tensors under the names and in the order that architectures know: those of Llama in Hugging Face.

One table of names serves all families, for no name means two things. What a family stores otherwise (transposed, fused,
less one, one tensor an expert) is put right here, so that no architecture has to know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from realizar.derived import half_split, head_by_head, last_rows, plus_one, split_fused, stacked, transposed
from realizar.errors import ModelError
from realizar.huggingface.families import FAMILIES, Family
from realizar.model import ModelConfig
from realizar.tensors import LazyTensor

_WHOLE = {
    "wte": "embed_tokens", "wpe": "embed_positions", "word_embeddings": "embed_tokens", "embed_in": "embed_tokens",
    "word_embeddings_layernorm": "embed_layernorm", "ln_f": "norm", "norm_f": "norm", "final_layernorm": "norm",
    "final_layer_norm": "norm", "embed_tokens": "embed_tokens", "norm": "norm",
    "embeddings.word_embeddings": "embed_tokens",
    "embeddings.position_embeddings": "embed_positions", "embeddings.token_type_embeddings": "embed_token_types",
    "embeddings.LayerNorm": "embed_layernorm", "emb_ln": "embed_layernorm",
}  # fmt: skip

_LAYER = {
    "attn.c_attn": "self_attn.qkv_proj", "attn.c_proj": "self_attn.o_proj", "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj",
    "attention.query_key_value": "self_attn.qkv_proj", "attention.dense": "self_attn.o_proj",
    "self_attention.query_key_value": "self_attn.qkv_proj", "self_attention.dense": "self_attn.o_proj",
    "mlp.dense_h_to_4h": "mlp.up_proj", "mlp.dense_4h_to_h": "mlp.down_proj",
    "ln_attn": "input_layernorm", "ln_mlp": "post_attention_layernorm",
    "attn.Wqkv": "self_attn.qkv_proj", "attn.out_proj": "self_attn.o_proj", "norm_1": "input_layernorm",
    "norm_2": "post_attention_layernorm", "ffn.up_proj": "mlp.up_proj", "ffn.down_proj": "mlp.down_proj",
    "self_attn.dense": "self_attn.o_proj", "mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj",
    "block_sparse_moe.gate": "mlp.gate", "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj", "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.o_proj", "attention.output.LayerNorm": "post_attention_layernorm",
    "intermediate.dense": "mlp.up_proj", "output.dense": "mlp.down_proj",
    "output.LayerNorm": "post_feedforward_layernorm", "norm1": "post_attention_layernorm",
    "norm2": "post_feedforward_layernorm", "mlp.fc11": "mlp.up_proj", "mlp.fc12": "mlp.gate_proj",
}  # fmt: skip

_MIXTRAL = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}

_PREFIX = re.compile(r"(?:model\.language_model|language_model\.model|model|transformer|gpt_neox|bert|roberta)\.")
_LAYER_NAME = re.compile(r"(?:layers|h|blocks|encoder\.layers?)\.(\d+)\.(.+)\.(weight|bias)")
_EXPERT = re.compile(r"block_sparse_moe\.experts\.(\d+)\.(w[123])")
_OLD_NORM = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_HEAD_NORM = re.compile(r"self_attn\.([qk])_layernorm(?:\.norms(\.\d+))?")
_STACKED = re.compile(r"(model\.layers\.\d+\.(?:mlp\.experts|self_attn\.[qk]_norm))\.(\d+)((?:\.\w+_proj)?\.weight)")


def canonical_name(name: str) -> str:
    """What architectures call a tensor of a Hugging Face checkpoint; a name without one stays as it is."""
    if name.startswith(("embed_out.", "language_model.lm_head.")):
        return f"lm_head.{name.rpartition('.')[2]}"
    for old, new in _OLD_NORM.items():
        name = name.removesuffix(old) + new if name.endswith(old) else name
    prefix = _PREFIX.match(name)
    rest = name[prefix.end() :] if prefix else name
    if match := _LAYER_NAME.fullmatch(rest):
        layer, part, kind = match.groups()
        if expert := _EXPERT.fullmatch(part):
            part = f"mlp.experts.{expert[1]}.{_MIXTRAL[expert[2]]}"
        if norm := _HEAD_NORM.fullmatch(part):
            part = f"self_attn.{norm[1]}_norm{norm[2] or ''}"
        return f"model.layers.{layer}.{_LAYER.get(part, part)}.{kind}"
    part, _, kind = rest.rpartition(".")
    if part in _WHOLE:
        return f"model.{_WHOLE[part]}.{kind}"
    return f"model.{rest}" if prefix else name


def canonical_tensors(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """The tensors of a checkpoint as architectures want them; raises ModelError naming one that does not fit."""
    family = FAMILIES.get(config.model_type, Family())
    found: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        canonical = canonical_name(name)
        if canonical in found:
            raise ModelError(f"{tensor.source}: {name!r} is {canonical!r}, and so is {found[canonical].source}")
        found[canonical] = attrs.evolve(_put_right(tensor, canonical, family, config), name=canonical)
    groups = config.num_key_value_heads if family.grouped else 1
    return _stack(split_fused(config, found, groups))


def _put_right(tensor: LazyTensor, name: str, family: Family, config: ModelConfig) -> LazyTensor:
    if family.transposed and re.search(r"_proj\.weight$", name):
        return transposed(tensor)
    if family.norms_less_one and name.endswith("norm.weight"):
        return plus_one(tensor)
    if family.pads_positions and name == "model.embed_positions.weight":
        return last_rows(tensor, config.max_position_embeddings)
    if family.interleaved and (match := re.search(r"\.([qk])_(proj|norm)\.", name)):
        heads = config.num_attention_heads if match[1] == "q" else config.num_key_value_heads
        return half_split(tensor, heads) if match[2] == "proj" else head_by_head(tensor, heads, half_split)
    return tensor


def _stack(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Experts of a layer, or norms of its heads, one tensor each, as one."""
    found: dict[str, LazyTensor] = {}
    numbered: dict[str, dict[int, LazyTensor]] = {}
    for name, tensor in tensors.items():
        if match := _STACKED.fullmatch(name):
            numbered.setdefault(match[1] + match[3], {})[int(match[2])] = tensor
        else:
            found[name] = tensor
    for name, by_number in numbered.items():
        missing = sorted(set(range(len(by_number))) - set(by_number))
        if missing:
            raise ModelError(f"{name}: {len(by_number)} parts, but none numbered {', '.join(map(str, missing))}")
        found[name] = stacked(name, [by_number[i] for i in range(len(by_number))])
    return found
