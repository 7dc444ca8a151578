"""A model's tensors as a Hugging Face checkpoint of its family names and stores them: the inverse of `tensors`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from realizar.architectures.rope import FACTORS, LONG_FACTORS, SHORT_FACTORS
from realizar.derived import (
    FUSED_GATE_UP,
    FUSED_QKV,
    fused,
    head_by_head,
    minus_one,
    pair_joined,
    transposed,
    unstacked,
)
from realizar.errors import FormatError, ModelError
from realizar.huggingface.families import FAMILIES, Family
from realizar.huggingface.tensors import canonical_tensors
from realizar.model import ModelConfig
from realizar.tensors import LazyTensor


@attrs.frozen
class Names:
    """What a checkpoint calls things. body: before everything but the output layer; layers: before a layer's number.

    whole, parts: names that differ from Llama's, by those. fused: projections in one tensor. norms_apart: norms on
    queries and keys are one tensor a head.
    """

    architecture: str
    body: str = "model."
    layers: str = "layers."
    whole: Mapping[str, str] = attrs.field(factory=dict)
    parts: Mapping[str, str] = attrs.field(factory=dict)
    fused: tuple[str, ...] = ()
    norms_apart: bool = False


_OTHER = {"norm": "ln_f", "embed_tokens": "word_embeddings", "embed_layernorm": "word_embeddings_layernorm"}
_NEOX_MLP = {"mlp.up_proj": "mlp.dense_h_to_4h", "mlp.down_proj": "mlp.dense_4h_to_h"}
_ATTENTION = {FUSED_QKV: "self_attention.query_key_value", "self_attn.o_proj": "self_attention.dense"}

NAMES: dict[str, Names] = {
    "llama": Names("LlamaForCausalLM"), "mistral": Names("MistralForCausalLM"), "qwen2": Names("Qwen2ForCausalLM"),
    "qwen3": Names("Qwen3ForCausalLM"), "qwen2_moe": Names("Qwen2MoeForCausalLM"),
    "qwen3_moe": Names("Qwen3MoeForCausalLM"), "granite": Names("GraniteForCausalLM"),
    "smollm3": Names("SmolLM3ForCausalLM"), "olmo2": Names("Olmo2ForCausalLM"), "gemma": Names("GemmaForCausalLM"),
    "gemma2": Names("Gemma2ForCausalLM"), "gemma3_text": Names("Gemma3ForCausalLM"),
    "cohere": Names("CohereForCausalLM"),
    "stablelm": Names("StableLmForCausalLM", norms_apart=True, parts={
        "self_attn.q_norm": "self_attn.q_layernorm.norms", "self_attn.k_norm": "self_attn.k_layernorm.norms"}),
    "mixtral": Names("MixtralForCausalLM", parts={
        "mlp.gate": "block_sparse_moe.gate", "gate_proj": "w1", "down_proj": "w2", "up_proj": "w3",
        "mlp.experts": "block_sparse_moe.experts"}),
    "phi3": Names("Phi3ForCausalLM", fused=(FUSED_QKV, FUSED_GATE_UP)),
    "phi": Names("PhiForCausalLM", whole={"norm": "final_layernorm"}, parts={
        "self_attn.o_proj": "self_attn.dense", "mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2",
        "self_attn.q_norm": "self_attn.q_layernorm", "self_attn.k_norm": "self_attn.k_layernorm"}),
    "starcoder2": Names("Starcoder2ForCausalLM", parts={"mlp.up_proj": "mlp.c_fc", "mlp.down_proj": "mlp.c_proj"}),
    "gpt2": Names("GPT2LMHeadModel", "transformer.", "h.", {
        "embed_tokens": "wte", "embed_positions": "wpe", "norm": "ln_f"}, {
        FUSED_QKV: "attn.c_attn", "self_attn.o_proj": "attn.c_proj", "input_layernorm": "ln_1",
        "post_attention_layernorm": "ln_2", "mlp.up_proj": "mlp.c_fc", "mlp.down_proj": "mlp.c_proj"}, (FUSED_QKV,)),
    "gpt_neox": Names("GPTNeoXForCausalLM", "gpt_neox.", "layers.", {
        "embed_tokens": "embed_in", "norm": "final_layer_norm", "lm_head": "embed_out"}, {
        **_NEOX_MLP, FUSED_QKV: "attention.query_key_value", "self_attn.o_proj": "attention.dense"}, (FUSED_QKV,)),
    "bloom": Names("BloomForCausalLM", "transformer.", "h.", _OTHER, {**_NEOX_MLP, **_ATTENTION}, (FUSED_QKV,)),
    "falcon": Names("FalconForCausalLM", "transformer.", "h.", _OTHER, {**_NEOX_MLP, **_ATTENTION}, (FUSED_QKV,)),
    "falcon, two norms": Names("FalconForCausalLM", "transformer.", "h.", _OTHER, {
        **_NEOX_MLP, **_ATTENTION, "input_layernorm": "ln_attn", "post_attention_layernorm": "ln_mlp"}, (FUSED_QKV,)),
    "mpt": Names("MptForCausalLM", "transformer.", "blocks.", {"embed_tokens": "wte", "norm": "norm_f"}, {
        FUSED_QKV: "attn.Wqkv", "self_attn.o_proj": "attn.out_proj", "input_layernorm": "norm_1",
        "post_attention_layernorm": "norm_2", "mlp.up_proj": "ffn.up_proj", "mlp.down_proj": "ffn.down_proj"},
        (FUSED_QKV,)),
}  # fmt: skip
"""By model_type, and what else tells two of one apart; a family that is not here can be read, but not written."""

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_PARTS = {
    FUSED_QKV: ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    FUSED_GATE_UP: ("mlp.gate_proj", "mlp.up_proj"),
}
_EXPERTS = re.compile(r"(.+\.mlp\.experts)(\.\w+)\.weight")
_HEAD_NORM = re.compile(r"(.+\.self_attn\.[qk]_norm)()\.weight")
_NUMBERED = re.compile(r"(mlp\.experts|self_attn\.[qk]_norm)\.(\d+)(?:\.(\w+))?")


def names_of(config: ModelConfig) -> Names:
    """The family's names; raises FormatError for one that is not written."""
    if config.model_type not in NAMES:
        raise FormatError(
            f"{config.model_type} models cannot be written as Hugging Face directories; known: {', '.join(NAMES)}"
        )
    two_norms = f"{config.model_type}, two norms"
    return NAMES[two_norms if config.num_ln_in_parallel_attn == 2 and two_norms in NAMES else config.model_type]


def as_checkpoint(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> tuple[ModelConfig, dict[str, LazyTensor]]:
    """The model in the terms of a checkpoint: rotary factors in the configuration, Llama with a window as Mistral.

    Raises FormatError for rotary factors that no configuration can hold.
    """
    if FACTORS in tensors:
        raise FormatError(
            f"{tensors[FACTORS].source}: holds rotary factors ready-made, and from which rope_scaling they come cannot "
            f"be told; a Hugging Face directory has no place for them"
        )
    if config.model_type == "llama" and any(config.window(i) for i in range(config.num_hidden_layers)):
        config = attrs.evolve(config, model_type="mistral")
    if config.rope_scaling is not None and LONG_FACTORS in tensors and SHORT_FACTORS in tensors:
        long, short = (tuple(tensors[name].to_float32().tolist()) for name in (LONG_FACTORS, SHORT_FACTORS))
        scaling = attrs.evolve(config.rope_scaling, long_factor=long, short_factor=short)
        config = attrs.evolve(config, rope_scaling=scaling)
    return config, {name: t for name, t in tensors.items() if name not in (LONG_FACTORS, SHORT_FACTORS)}


def checkpoint_tensors(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> list[LazyTensor]:
    """All tensors under the family's names; raises FormatError for one that has none or would not be read back."""
    names, family = names_of(config), FAMILIES.get(config.model_type, Family())
    try:
        separate = [part for tensor in tensors.values() for part in _apart(tensor, names)]
        put = {t.name: _put(t, config, family) for t in separate if not _is_tied_copy(t.name, config)}
        groups = config.num_key_value_heads if family.grouped else 1
        joined = _join(put, names, groups)
        turned = {name: transposed(t) if family.transposed and _is_linear(name) else t for name, t in joined.items()}
        found = [attrs.evolve(tensor, name=_own_name(name, names)) for name, tensor in turned.items()]
        again = canonical_tensors(config, {tensor.name: tensor for tensor in found})
    except ModelError as error:
        raise FormatError(str(error)) from error
    expected = {name: t.shape for name, t in tensors.items() if not _is_tied_copy(name, config)}
    if unlike := expected.items() ^ {name: t.shape for name, t in again.items()}.items():
        raise FormatError(f"tensor {sorted(unlike)[0][0]!r} has no place in a {config.model_type} checkpoint")
    return found


def _is_tied_copy(name: str, config: ModelConfig) -> bool:
    return bool(config.tie_word_embeddings) and name == "lm_head.weight"


def _is_linear(name: str) -> bool:
    return name.endswith("_proj.weight")


def _apart(tensor: LazyTensor, names: Names) -> Sequence[LazyTensor]:
    """Stacked experts one by one, and norms of heads where they are apart."""
    match = _EXPERTS.fullmatch(tensor.name) or (names.norms_apart and _HEAD_NORM.fullmatch(tensor.name))
    if not match:
        return [tensor]
    return unstacked(tensor, [f"{match[1]}.{i}{match[2]}.weight" for i in range(tensor.shape[0])])


def _put(tensor: LazyTensor, config: ModelConfig, family: Family) -> LazyTensor:
    name = tensor.name
    if family.interleaved and (match := re.search(r"\.([qk])_(proj|norm)\.", name)):
        heads = config.num_attention_heads if match[1] == "q" else config.num_key_value_heads
        tensor = pair_joined(tensor, heads) if match[2] == "proj" else head_by_head(tensor, heads, pair_joined)
    if family.norms_less_one and name.endswith("norm.weight"):
        tensor = minus_one(tensor)
    return tensor


def _join(tensors: Mapping[str, LazyTensor], names: Names, groups: int) -> dict[str, LazyTensor]:
    """Fused projections in the place of their first part."""
    found: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        whole = next((w for w in names.fused if any(f".{part}." in name for part in _PARTS[w])), None)
        if whole is not None:
            own = next(part for part in _PARTS[whole] if f".{part}." in name)
            parts = [name.replace(own, part) for part in _PARTS[whole]]
            if missing := [part for part in parts if part not in tensors]:
                raise ModelError(f"tensor {missing[0]!r} is missing beside {name!r}")
            name = name.replace(own, whole)
            if name not in found:
                tensor = fused(name, [tensors[part] for part in parts], groups if whole == FUSED_QKV else 1)
        found.setdefault(name, tensor)
    return found


def _own_name(name: str, names: Names) -> str:
    match = _LAYER.fullmatch(name)
    if match is None:
        part, _, kind = name.removeprefix("model.").rpartition(".")
        own = names.whole.get(part, part)
        return f"{own}.{kind}" if part == "lm_head" else f"{names.body}{own}.{kind}"
    layer, part, kind = match.groups()
    numbered = _NUMBERED.fullmatch(part)
    if numbered and numbered[1] in names.parts:
        own = f"{names.parts[numbered[1]]}.{numbered[2]}"
        own += f".{names.parts[numbered[3]]}" if numbered[3] else ""
    else:
        own = names.parts.get(part, part)
    return f"{names.body}{names.layers}{layer}.{own}.{kind}"
