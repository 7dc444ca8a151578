"""Models written as Hugging Face directories; transformers loads them: tests/oracles/test_convert_families.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given

from realizar.conversion.likeness import prove_alike
from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.huggingface import read_hf_config
from realizar.huggingface.checkpoints import checkpoint_tensors
from realizar.huggingface.config_json import config_json
from realizar.huggingface.tensors import canonical_tensors
from realizar.model import FULL, SLIDING, ModelFile, RopeScaling
from realizar.testing.models import TinyModel, memory_tensor, tiny_model
from realizar.testing.strategies import reproducible, tiny_models
from realizar.tokenizer_files.sentencepiece_model import read_sentencepiece_model, write_sentencepiece_model
from realizar_safetensors.format import Safetensors
from realizar_safetensors.reader import read_model


def contents(model: ModelFile | TinyModel) -> dict[str, tuple[tuple[int, ...], str, bytes]]:
    return {name: (t.shape, t.dtype.name, t.read().tobytes()) for name, t in model.tensors.items()}


def with_known_words(model: TinyModel, **changes: Any) -> ModelFile:
    """With a pre-tokenizer that tokenizer.json can spell."""
    return attrs.evolve(model.open(), tokenizer=attrs.evolve(model.tokenizer, pre="llama-bpe", **changes))


def written(path: Path, model: ModelFile) -> ModelFile:
    Safetensors().write(path, model)
    return read_model(path)


@given(model=tiny_models(weight_types=("F32", "F16", "BF16")))
@reproducible(15)
def test_a_model_comes_back(model, tmp_path_factory):
    found = written(tmp_path_factory.mktemp("any") / "m", with_known_words(model))
    assert contents(found) == contents(model)
    assert found.config is not None
    assert found.config.unknown == ()
    prove_alike(model.config, found.config, "the directory")
    assert list(found.tokenizer.tokens) == list(model.tokenizer.tokens)
    assert list(found.tokenizer.token_types) == list(model.tokenizer.token_types)
    assert list(found.tokenizer.merges) == list(model.tokenizer.merges)


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
@pytest.mark.parametrize("around", [(False, False), (True, False), (True, True)])
def test_tokenizers_come_back(pre, around, tmp_path):
    model, (before, after) = tiny_model(), around
    spec = attrs.evolve(
        model.tokenizer, pre=pre, bos_token_id=0, eos_token_ids=(1, 0), add_bos_token=before, add_eos_token=after,
        chat_template="{{ messages }}\r\n", named_chat_templates={"tool_use": "x"},
    )  # fmt: skip
    found = written(tmp_path / "m", attrs.evolve(model.open(), tokenizer=spec)).tokenizer
    for field in attrs.fields(type(spec)):
        one, other = getattr(found, field.name), getattr(spec, field.name)
        same = list(one) == list(other) if field.name in ("tokens", "token_types", "merges") else one == other
        assert same or field.name == "source", field.name


def test_wordpiece(tmp_path):
    model = tiny_model(vocab_size=6)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b"]
    spec = attrs.evolve(
        model.tokenizer, model="wordpiece", tokens=tokens, token_types=[3, 3, 3, 3, 1, 1], merges=None, pre=None,
        bos_token_id=2, eos_token_ids=(3,), unk_token_id=1, pad_token_id=0, add_bos_token=True, add_eos_token=True,
        do_lower_case=False, strip_accents=False, chat_template=None,
    )  # fmt: skip
    embedding = memory_tensor("model.embed_tokens.weight", np.zeros((6, 64), np.float32), DTYPES["F32"])
    file = attrs.evolve(model.open(), tokenizer=spec, tensors={**model.tensors, embedding.name: embedding})
    found = written(tmp_path / "m", file).tokenizer
    assert (found.model, list(found.tokens), found.do_lower_case) == ("wordpiece", tokens, False)
    assert (found.bos_token_id, found.eos_token_ids, found.unk_token_id) == (2, (3,), 1)


def test_sentencepiece_comes_back():
    spec = attrs.evolve(
        tiny_model().tokenizer, model="unigram", tokens=["<unk>", "<s>", "</s>", "▁ä", "<0x0A>"], merges=None, pre=None,
        scores=[0.0, 0.0, 0.0, -1.5, -2.0], token_types=[2, 3, 3, 1, 6], bos_token_id=1, eos_token_ids=(2,),
        unk_token_id=0, pad_token_id=None, add_space_prefix=True, precompiled_charsmap=b"\x01\x02",
    )  # fmt: skip
    found = read_sentencepiece_model(write_sentencepiece_model(spec), "m")
    assert list(found.tokens) == spec.tokens
    assert list(found.scores) == spec.scores
    assert list(found.token_types) == spec.token_types
    for name in ("model", "bos_token_id", "eos_token_ids", "unk_token_id", "pad_token_id", "add_space_prefix",
                 "remove_extra_whitespaces", "precompiled_charsmap"):  # fmt: skip
        assert getattr(found, name) == getattr(spec, name), name


def test_without_scores_there_is_no_sentencepiece_model():
    with pytest.raises(FormatError, match="a spm vocabulary without scores cannot be written"):
        write_sentencepiece_model(attrs.evolve(tiny_model().tokenizer, model="spm", scores=None))


CHANGES: dict[str, dict[str, Any]] = {
    "llama": {"rope_scaling": RopeScaling("llama3", 8.0, original_max_position_embeddings=64)},
    "mistral": {"sliding_window": 9},
    "qwen2": {"sliding_window": 8, "layer_types": (FULL, SLIDING)},
    "qwen3": {"rope_scaling": RopeScaling("yarn", 4.0, original_max_position_embeddings=64)},
    "gemma": {"hidden_act": "gelu_tanh"},
    "gemma2": {"hidden_act": "gelu_tanh", "sliding_window": 8, "layer_types": (SLIDING, FULL)},
    "gemma3_text": {"hidden_act": "gelu_tanh", "sliding_window": 8, "layer_types": (SLIDING, FULL),
                    "rope_local_base_freq": 1e4},
    "granite": {"logit_scale": 0.125, "residual_multiplier": 0.22, "embedding_multiplier": 12.0},
    "smollm3": {"no_rope_layers": (1, 0)},
    "phi3": {"rope_scaling": RopeScaling("longrope", original_max_position_embeddings=64, long_factor=(2.0,) * 8,
                                         short_factor=(1.0,) * 8)},
    "cohere": {"use_parallel_residual": True},
    "stablelm": {"rotary_dim": 4},
    "olmo2": {},
}  # fmt: skip


@pytest.mark.parametrize("model_type", CHANGES)
def test_families_come_back(model_type, tmp_path):
    model = tiny_model(model_type=model_type, tied=False, **CHANGES[model_type])
    found = written(tmp_path / "m", attrs.evolve(model.open(), tokenizer=None))
    prove_alike(model.config, found.config, "the directory")
    assert found.config.model_type == model_type
    assert found.config.unknown == ()
    if "gemma" not in model_type:
        assert contents(found) == contents(model)
    for name, tensor in found.tensors.items():
        np.testing.assert_allclose(tensor.to_float32(), model.tensors[name].to_float32(), rtol=0, atol=1e-7)


def test_llama_with_a_window_is_mistral(tmp_path):
    found = written(tmp_path / "m", attrs.evolve(tiny_model(sliding_window=9).open(), tokenizer=None))
    assert found.config.model_type == "mistral"


TWO_NORMS = {"num_ln_in_parallel_attn": 2, "use_parallel_residual": True}
LINEAR_BIASES: dict[str, Any] = {"alibi_bias_max": 8.0, "alibi_multiplier": 0.25, "num_key_value_heads": 4}


@pytest.mark.parametrize(
    ("model_type", "changes", "names"),
    [
        ("gpt2", {"num_key_value_heads": 4}, {"attn.c_attn", "ln_2"}),
        ("gpt_neox", {"num_key_value_heads": 4, **TWO_NORMS}, {"attention.query_key_value"}),
        ("bloom", {"num_key_value_heads": 4}, {"self_attention.query_key_value"}),
        ("falcon", {"num_key_value_heads": 2, **TWO_NORMS}, {"ln_attn", "ln_mlp"}),
        ("falcon", {"num_key_value_heads": 1}, {"input_layernorm", "mlp.dense_h_to_4h"}),
        ("mpt", {"num_key_value_heads": 4}, {"attn.Wqkv", "norm_1", "ffn.up_proj"}),
    ],
)
def test_fused_and_turned_tensors_come_back(model_type, changes, names):
    """Fused by groups, transposed, under the family's own names."""
    model = tiny_model(model_type=model_type, biased=True, tied=False, **changes)
    plain = {name: t for name, t in model.tensors.items() if "gate" not in name}
    stored = {tensor.name: tensor for tensor in checkpoint_tensors(model.config, plain)}
    assert not any("q_proj" in name for name in stored)
    assert all(any(f".0.{own}.weight" in name for name in stored) for own in names)
    found = canonical_tensors(model.config, stored)
    assert {name: t.read().tobytes() for name, t in found.items()} == {
        name: t.read().tobytes() for name, t in plain.items()
    }


@pytest.mark.parametrize(
    ("model_type", "changes", "key", "value"),
    [
        ("falcon", {**TWO_NORMS, "num_key_value_heads": 4}, "new_decoder_architecture", True),
        ("falcon", {"use_parallel_residual": True, "num_key_value_heads": 2}, "num_kv_heads", 2),
        ("falcon", {"use_parallel_residual": True, "num_key_value_heads": 1}, "multi_query", True),
        ("falcon", LINEAR_BIASES, "parallel_attn", False),
        ("mpt", {"alibi_bias_max": 4.0, "num_key_value_heads": 4}, "attn_config",
         {"alibi": True, "alibi_bias_max": 4, "softmax_scale": None}),
        ("mpt", {"alibi_bias_max": 4.5, "attention_multiplier": 0.5, "num_key_value_heads": 4}, "attn_config",
         {"alibi": True, "alibi_bias_max": 4.5, "softmax_scale": 0.5}),
    ],
)  # fmt: skip
def test_configurations_in_the_family_s_own_keys(model_type, changes, key, value):
    config = tiny_model(model_type=model_type, hidden_act="gelu", **changes).config
    written = config_json(config, {}, {})
    assert written[key] == value
    assert not {"head_dim", "use_parallel_residual", "num_key_value_heads"} & set(written)
    prove_alike(config, read_hf_config(written, "config.json"), "config.json")


def test_mpt_has_a_key_and_a_value_for_each_query():
    with pytest.raises(FormatError, match="num_key_value_heads 2 as 4"):
        config_json(tiny_model(model_type="mpt", hidden_act="gelu", alibi_bias_max=8.0).config, {}, {})


def test_experts_come_back_one_by_one():
    config = tiny_model(model_type="mixtral", num_experts=3, num_experts_per_tok=2, num_hidden_layers=1).config
    rng = np.random.default_rng(0)
    shapes = {"gate_proj": (3, 4, 8), "up_proj": (3, 4, 8), "down_proj": (3, 8, 4)}
    tensors = {
        name: memory_tensor(name, rng.standard_normal(shape).astype(np.float32), DTYPES["F32"])
        for name, shape in ((f"model.layers.0.mlp.experts.{part}.weight", shape) for part, shape in shapes.items())
    }
    stored = {tensor.name: tensor for tensor in checkpoint_tensors(config, tensors)}
    assert stored["model.layers.0.block_sparse_moe.experts.2.w2.weight"].shape == (8, 4)
    assert len(stored) == 9
    found = canonical_tensors(config, stored)
    assert all(found[name].read().tobytes() == tensor.read().tobytes() for name, tensor in tensors.items())


def test_from_one_directory_to_another(tmp_path):
    """config.json and the tokenizer's files go along as they are."""
    first = tmp_path / "first"
    Safetensors().write(first, with_known_words(tiny_model("F32")))
    config = json.loads((first / "config.json").read_text()) | {"rope_theta": 10000, "use_cache": True}
    (first / "config.json").write_text(json.dumps(config))
    (first / "tokenizer_config.json").write_text('{"x": 1}')
    Safetensors().write(tmp_path / "second", read_model(first))
    assert json.loads((tmp_path / "second/config.json").read_text()) == config
    assert (tmp_path / "second/tokenizer_config.json").read_text() == '{"x": 1}'


def test_a_config_that_was_outgrown_is_made_anew(tmp_path, caplog):
    Safetensors().write(tmp_path / "first", with_known_words(tiny_model()))
    file = read_model(tmp_path / "first")
    found = written(tmp_path / "m", attrs.evolve(file, config=attrs.evolve(file.config, rope_theta=5e5)))
    assert found.config.rope_theta == 5e5
    assert "is made anew: config.json would hold rope_theta 500000.0 as 10000.0" in caplog.text


def test_refusals(tmp_path):
    def refused(match: str, name: str = "m", **changes: Any) -> None:
        with pytest.raises(FormatError, match=match):
            Safetensors().write(tmp_path / name, attrs.evolve(with_known_words(tiny_model()), **changes))

    bert = tiny_model(model_type="bert").config
    factors = memory_tensor("model.rope_freqs.weight", np.ones(8, np.float32), DTYPES["F32"])
    refused("name a directory", "m.safetensors")
    refused("it is a dump", config=None, no_config="it is a dump")
    refused("bert models cannot be written as Hugging Face directories; known: llama", config=bert)
    refused("rotary factors ready-made", tensors={**tiny_model().tensors, factors.name: factors})
    refused("pre-tokenizer 'klingon' cuts words", tokenizer=attrs.evolve(tiny_model().tokenizer, pre="klingon"))
    refused("alibi_bias_max", config=tiny_model(alibi_bias_max=8.0).config)
    (tmp_path / "there").mkdir()
    refused("a directory is never replaced", "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
