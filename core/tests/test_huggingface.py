"""config.json and checkpoints of Hugging Face in our terms; logits: tests/oracles/test_families.py."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realizar.dtypes import DTYPES
from realizar.errors import ModelError
from realizar.huggingface import canonical_tensors, read_hf_config
from realizar.huggingface.families import FAMILIES
from realizar.huggingface.keys import INTEGERS, LISTS, OBJECTS, ONLY, POSITIVE
from realizar.huggingface.tensors import canonical_name
from realizar.model import FULL, SLIDING, ModelConfig, RopeScaling
from realizar.tensors import LazyTensor
from realizar.testing.models import memory_tensor, tiny_model

SIZES = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


_KEYS = sorted(
    {*(f.name for f in attrs.fields(ModelConfig)), *INTEGERS, *POSITIVE, *LISTS, *OBJECTS, *ONLY}
    - {"model_type", "unknown"}
    | {"use_sliding_window", "max_window_layers", "multi_query", "parallel_attn", "new_decoder_architecture"}
)


def read(model_type: str = "llama", **changes: Any) -> ModelConfig:
    return read_hf_config({"model_type": model_type, **SIZES, **changes}, "config.json")


def test_sizes_and_what_follows_from_them() -> None:
    config = read(rms_norm_eps=1e-3, torch_dtype="bfloat16", architectures=["LlamaForCausalLM"])
    assert (config.head_dim, config.num_key_value_heads, config.rms_norm_eps) == (4, 2, 1e-3)
    assert (config.hidden_act, config.rope_theta, config.rope_scaling, config.unknown) == ("silu", 10000.0, None, ())


def test_null_counts_as_absent() -> None:
    assert read(head_dim=None, num_key_value_heads=None, sliding_window=None, rope_scaling=None).head_dim == 4


def test_null_takes_a_default_away() -> None:
    assert read("gemma2").final_logit_softcapping == 30.0
    assert read("gemma2", final_logit_softcapping=None, sliding_window=None).final_logit_softcapping is None
    assert read("gemma2", sliding_window=None).sliding_window is None


def test_two_spellings_of_one_key() -> None:
    assert read("gemma", hidden_act="gelu", hidden_activation="gelu_pytorch_tanh").hidden_act == "gelu_tanh"
    assert read("gemma", hidden_activation=None, hidden_act="gelu").hidden_act == "gelu"


def test_defaults_of_the_config_class() -> None:
    assert read().rms_norm_eps == 1e-6
    assert read("phi3").rms_norm_eps == 1e-5
    assert read("mixtral", num_local_experts=3, num_experts_per_tok=2).rope_theta == 1e6
    assert read("gemma").head_dim == 256


def test_keys_that_nobody_understands_are_unknown() -> None:
    assert read(warp_drive=3, flux=None).unknown == ("warp_drive",)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("quantization_config", {"quant_method": "gptq", "bits": 4}, "quantization_config is 'gptq'.*no such key"),
        ("qk_ln", True, "qk_ln is True, which is not implemented; expected False"),
        ("hidden_act", "swoosh", "unknown activation 'swoosh'; known: silu, "),
        ("hidden_act", ["silu"], "expected the name of an activation"),
        ("model_type", None, "model_type is None; expected the name of a model family"),
        ("text_config", 3, "text_config is 3; expected an object"),
        ("rope_parameters", 3, "rope_parameters is 3; expected an object"),
        ("hidden_size", 18, "hidden_size 18 is not a multiple of 4 attention heads"),
        ("hidden_size", "wide", "hidden_size is 'wide'; expected an integer from 1"),
        ("num_hidden_layers", 10**12, "expected an integer from 1 to 65536"),
        ("num_hidden_layers", True, "num_hidden_layers is True"),
        ("layer_types", "all", "layer_types is 'all'; expected a list"),
        ("partial_rotary_factor", -1, "expected a positive number"),
        ("partial_rotary_factor", 2.0, "expected a number from 0 to 1"),
        ("rope_parameters", {SLIDING: 1}, "expected objects for each kind of layer"),
        ("rms_norm_eps", "small", "mistyped"),
        ("rope_scaling", {"type": "yarn", "warp": 2}, r"rotary scaling 'yarn' has keys .*\['warp'\]"),
        ("rope_scaling", "linear", "rope_scaling is 'linear'; expected an object"),
        ("num_hidden_layers", None, "num_hidden_layers"),
    ],
)
def test_what_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ModelError, match=f"config.json: .*{message}"):
        read_hf_config({"model_type": "llama", **SIZES, key: value}, "config.json")


@pytest.mark.parametrize(
    ("keys", "theta", "scaling"),
    [
        ({"rope_theta": 5e5}, 5e5, None),
        ({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}}, 5e5, RopeScaling("linear", 2.0)),
        ({"rope_scaling": {"rope_type": "default"}}, 1e4, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 7e4}}, 7e4, None),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 7e4, "factor": 3.0}}, 7e4,
         RopeScaling("dynamic", 3)),
        (
            {"rope_scaling": {"type": "su", "short_factor": [1, 2], "long_factor": [3, 4]},
             "original_max_position_embeddings": 32},
            1e4,
            RopeScaling("longrope", 1.0, 32, short_factor=(1.0, 2.0), long_factor=(3.0, 4.0)),
        ),
    ],
)  # fmt: skip
def test_rotary_positions(keys: dict[str, Any], theta: float, scaling: RopeScaling | None) -> None:
    config = read(**keys)
    assert (config.rope_theta, config.rope_scaling, config.unknown) == (theta, scaling, ())


def test_part_of_a_head_rotates() -> None:
    assert read("phi", hidden_size=32).rotary_dim == 4  # its default is half of a head
    assert read("gpt_neox", hidden_size=32, rotary_pct=0.5).rotary_dim == 4
    assert read(rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.5}).rotary_dim == 2


def test_one_rotation_for_each_kind_of_layer() -> None:
    plain = {"rope_type": "default", "rope_theta": 1e4}
    config = read("gemma3_text", rope_parameters={FULL: {**plain, "rope_theta": 1e6}, SLIDING: plain})
    assert (config.rope_theta, config.rope_local_base_freq) == (1e6, 1e4)
    with pytest.raises(ModelError, match="rope_parameters.sliding_attention .* expected a rope_theta alone"):
        read("gemma3_text", rope_parameters={FULL: plain, SLIDING: {**plain, "rope_type": "linear", "factor": 2.0}})


def test_kinds_of_layers() -> None:
    assert read("gemma2").layer_types == (SLIDING, FULL) * 2
    assert read("gemma3_text", sliding_window_pattern=2).layer_types == (SLIDING, FULL) * 2
    assert read("gemma3_text", layer_types=[FULL] * 4).layer_types == (FULL,) * 4
    sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3}
    assert read("qwen2", **sliding).layer_types == (FULL, FULL, FULL, SLIDING)
    assert read("qwen2", sliding_window=8).sliding_window is None
    assert read("smollm3").no_rope_layers == (1, 1, 1, 0)


def test_layers_of_experts() -> None:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    config = read("qwen2_moe", **experts, decoder_sparse_step=2, mlp_only_layers=[3], unknown_key=1)
    assert [config.is_sparse(i) for i in range(4)] == [False, True, False, False]
    assert (config.norm_topk_prob, config.unknown) == (False, ("unknown_key",))
    assert read("mixtral", num_local_experts=8, num_experts_per_tok=2).num_experts == 8


def test_factors() -> None:
    config = read("granite", logits_scaling=8.0, residual_multiplier=0.2, embedding_multiplier=12.0)
    assert (config.logit_scale, config.residual_multiplier, config.embedding_multiplier) == (0.125, 0.2, 12.0)
    assert (config.attention_scale, config.unknown) == (1.0, ())  # attention_multiplier is 1 by default
    assert read("gemma2", query_pre_attn_scalar=16).attention_scale == 0.25


def test_families_with_their_own_keys() -> None:
    gpt2 = read_hf_config(
        {"model_type": "gpt2", "vocab_size": 9, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 8},
        "config.json",
    )
    assert (gpt2.intermediate_size, gpt2.hidden_act, gpt2.max_position_embeddings) == (64, "gelu_tanh", 8)
    falcon = read("falcon", new_decoder_architecture=True, num_kv_heads=2, bias=False)
    assert (falcon.use_parallel_residual, falcon.num_ln_in_parallel_attn, falcon.alibi_bias_max) == (True, 2, None)
    mpt = {"model_type": "mpt", "vocab_size": 9, "d_model": 16, "n_layers": 2, "n_heads": 4, "max_seq_len": 8}
    attention = {"alibi": True, "alibi_bias_max": 4, "clip_qkv": None}
    assert read_hf_config({**mpt, "attn_config": attention}, "config.json").alibi_bias_max == 4
    for wrong in ({"alibi": False}, {"clip_qkv": 6}):
        with pytest.raises(ModelError, match=f"{next(iter(wrong))} is .*not implemented"):
            read_hf_config({**mpt, "attn_config": attention | wrong}, "config.json")


def test_the_text_part_of_a_larger_model() -> None:
    inner = {"model_type": "gemma3_text", **SIZES}
    config = read_hf_config({"model_type": "gemma3", "text_config": inner, "vision_config": {}}, "config.json")
    assert (config.model_type, config.unknown) == ("gemma3_text", ())
    with pytest.raises(ModelError, match="quantization_config is 'bitsandbytes'"):
        outer = {"quantization_config": {"quant_method": "bitsandbytes"}}
        read_hf_config({"model_type": "gemma3", "text_config": inner, **outer}, "config.json")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["silu", "linear", "yarn", FULL, "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["factor", "type", FULL]), inner),
)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(FAMILIES)), st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=4))
def test_whatever_config_json_says_costs_one_clear_error(model_type: str, changes: dict[str, Any]) -> None:
    try:
        read(model_type, **changes)
    except ModelError as error:
        assert "config.json: " in str(error)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "model.layers.3.self_attn.q_proj.weight"),
        ("lm_head.weight", "lm_head.weight"), ("embed_out.weight", "lm_head.weight"),
        ("transformer.wte.weight", "model.embed_tokens.weight"), ("wpe.weight", "model.embed_positions.weight"),
        ("h.0.ln_1.bias", "model.layers.0.input_layernorm.bias"), ("transformer.ln_f.bias", "model.norm.bias"),
        ("transformer.h.11.attn.c_attn.weight", "model.layers.11.self_attn.qkv_proj.weight"),
        ("gpt_neox.layers.1.attention.dense.bias", "model.layers.1.self_attn.o_proj.bias"),
        ("transformer.blocks.1.ffn.down_proj.weight", "model.layers.1.mlp.down_proj.weight"),
        ("model.layers.1.block_sparse_moe.experts.5.w3.weight", "model.layers.1.mlp.experts.5.up_proj.weight"),
        ("model.language_model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"),
        ("language_model.model.norm.weight", "model.norm.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("vision_tower.patches.weight", "vision_tower.patches.weight"),
        ("bert.embeddings.LayerNorm.gamma", "model.embed_layernorm.weight"),
        ("embeddings.token_type_embeddings.weight", "model.embed_token_types.weight"),
        ("encoder.layer.2.attention.self.query.bias", "model.layers.2.self_attn.q_proj.bias"),
        ("roberta.encoder.layer.0.attention.output.LayerNorm.beta", "model.layers.0.post_attention_layernorm.bias"),
        ("encoder.layer.1.output.dense.weight", "model.layers.1.mlp.down_proj.weight"),
        ("encoder.layers.1.mlp.fc12.weight", "model.layers.1.mlp.gate_proj.weight"),
        ("pooler.dense.weight", "pooler.dense.weight"),
        ("embed_tokens.weight", "model.embed_tokens.weight"), ("norm.weight", "model.norm.weight"),
        ("layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
    ],
)  # fmt: skip
def test_names(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical


def tensors(**shapes: tuple[int, ...]) -> dict[str, LazyTensor]:
    rng = np.random.default_rng(0)
    return {
        name: memory_tensor(name, rng.standard_normal(shape).astype(np.float32), DTYPES["F32"])
        for name, shape in shapes.items()
    }


def test_norms_stored_less_one() -> None:
    given = tensors(
        **{"model.norm.weight": (16,), "model.layers.0.self_attn.q_norm.weight": (4,), "lm_head.weight": (2, 2)}
    )
    found = canonical_tensors(read("gemma3_text"), given)
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor.read(), given[name].read() + np.float32("norm" in name))


def test_transposed_and_fused() -> None:
    given = tensors(**{"h.0.attn.c_attn.weight": (16, 48), "h.0.attn.c_proj.weight": (16, 16), "wte.weight": (9, 16)})
    found = canonical_tensors(read("gpt2", num_key_value_heads=4), given)
    fused = given["h.0.attn.c_attn.weight"].read()
    np.testing.assert_array_equal(found["model.layers.0.self_attn.k_proj.weight"].read(), fused.T[16:32])
    np.testing.assert_array_equal(found["model.embed_tokens.weight"].read(), given["wte.weight"].read())
    assert found["model.layers.0.self_attn.k_proj.weight"].name == "model.layers.0.self_attn.k_proj.weight"


def test_encoders_see_all_of_a_text() -> None:
    config = read("bert", attention_probs_dropout_prob=0.1, hidden_dropout_prob=0.1, position_embedding_type="absolute")
    assert (config.is_causal, config.type_vocab_size, config.hidden_act, config.unknown) == (False, 2, "gelu", ())
    assert read("bert", is_decoder=True).is_causal
    assert read("nomic_bert").rope_theta == 1000
    with pytest.raises(ModelError, match="position_embedding_type is 'relative_key', which is not implemented"):
        read("bert", position_embedding_type="relative_key")


def test_positions_before_the_first_are_left_out() -> None:
    name = "embeddings.position_embeddings.weight"
    config = read("xlm-roberta", pad_token_id=3)
    assert (config.max_position_embeddings, read("roberta").max_position_embeddings) == (60, 62)
    given = tensors(**{name: (64, 16)})
    found = canonical_tensors(config, given)["model.embed_positions.weight"]
    assert found.shape == (60, 16)
    np.testing.assert_array_equal(found.read(), given[name].read()[4:])
    with pytest.raises(ModelError, match=r"shape \(59, 16\), but the configuration says 60 rows or more"):
        canonical_tensors(config, tensors(**{name: (59, 16)}))


def test_pairs_side_by_side() -> None:
    given = tensors(
        **{f"model.layers.0.self_attn.{p}_proj.weight": (4 * n, 16) for p, n in (("q", 4), ("k", 2), ("v", 2))}
    )
    found = canonical_tensors(read("cohere"), given)
    for name, tensor in found.items():
        order = [0, 1, 2, 3] if "v_proj" in name else [0, 2, 1, 3]
        np.testing.assert_array_equal(tensor.read()[4:8], given[name].read()[4:8][order])


def test_experts_are_stacked_by_number() -> None:
    names = [f"model.layers.0.mlp.experts.{i}.up_proj.weight" for i in (10, 0, 2, 1, 3, 4, 5, 6, 7, 8, 9)]
    given = tensors(**dict.fromkeys(names, (3, 2)))
    stack = canonical_tensors(read("qwen3_moe"), given)["model.layers.0.mlp.experts.up_proj.weight"]
    assert stack.shape == (11, 3, 2)
    np.testing.assert_array_equal(stack.read()[10], given[names[0]].read())
    del given[names[3]]
    with pytest.raises(ModelError, match="10 parts, but none numbered 1"):
        canonical_tensors(read("qwen3_moe"), given)


def test_norms_of_heads_are_stacked() -> None:
    names = [f"model.layers.0.self_attn.q_layernorm.norms.{i}.weight" for i in (1, 0)]
    assert read("stablelm", qk_layernorm=True).use_qk_norm
    stack = canonical_tensors(read("stablelm"), tensors(**dict.fromkeys(names, (4,))))
    assert stack["model.layers.0.self_attn.q_norm.weight"].shape == (2, 4)


def test_norms_of_heads_in_pairs_side_by_side() -> None:
    name = "model.layers.0.self_attn.k_norm.weight"
    given = tensors(**{name: (2, 4)})
    found = canonical_tensors(read("cohere"), given)[name].read()
    np.testing.assert_array_equal(found, given[name].read()[:, [0, 2, 1, 3]])


def test_two_tensors_of_one_name_are_an_error() -> None:
    with pytest.raises(ModelError, match="'wte.weight' is 'model.embed_tokens.weight', and so is memory: transformer"):
        canonical_tensors(tiny_model().config, tensors(**{"transformer.wte.weight": (2, 2), "wte.weight": (2, 2)}))
