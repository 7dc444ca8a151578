"""Model keys become ModelConfig fields."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from realizar.model import ModelConfig, ModelFile, RopeScaling
from realizar_gguf.reader import read_gguf

BYTES = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))
model, key, array = BYTES["model"], BYTES["key"], BYTES["array"]
U32, I32, F32, STRING = BYTES["U32"], BYTES["I32"], BYTES["F32"], BYTES["STRING"]


def open_model(directory: Path, content: bytes) -> ModelFile:
    path = directory / "model.gguf"
    path.write_bytes(content)
    return read_gguf(path)


def config_of(directory: Path, content: bytes) -> ModelConfig:
    config = open_model(directory, content).config
    assert config is not None
    return config


def test_plain_keys_and_what_follows_from_them(tmp_path: Path) -> None:
    assert config_of(tmp_path, model()) == ModelConfig(
        model_type="llama", vocab_size=3, hidden_size=8, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, head_dim=4, max_position_embeddings=64,
        rms_norm_eps=pytest.approx(1e-5),
    )  # fmt: skip


def test_optional_keys(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        model(
            key("llama.vocab_size", U32, 3),
            key("llama.attention.key_length", U32, 6),
            key("llama.attention.value_length", U32, 6),
            key("llama.attention.sliding_window", U32, 32),
            key("llama.rope.freq_base", F32, 5e5),
            key("llama.rope.dimension_count", U32, 2),
            array("llama.attention.head_count_kv", I32, [1, 1]),
            key("llama.nextn_predict_layers", U32, 1),
        ),
    )
    assert (config.head_dim, config.num_key_value_heads, config.sliding_window) == (6, 1, 32)
    assert (config.rope_theta, config.rotary_dim) == (5e5, 2)
    assert config.unknown == ("llama.nextn_predict_layers",)


def test_another_value_length_is_unknown(tmp_path: Path) -> None:
    config = config_of(tmp_path, model(key("llama.attention.value_length", U32, 6)))
    assert config.unknown == ("llama.attention.value_length",)


@pytest.mark.parametrize(
    ("keys", "scaling"),
    [
        ([("type", STRING, "none"), ("factor", F32, 2.0)], None),
        ([("type", STRING, "linear"), ("factor", F32, 4.0)], RopeScaling("linear", 4.0)),
        ([("factor", F32, 4.0)], RopeScaling("linear", 4.0)),
        ([("original_context_length", U32, 32)], None),
        (
            [("type", STRING, "yarn"), ("factor", F32, 2.0), ("original_context_length", U32, 32)],
            RopeScaling("yarn", 2.0, 32),
        ),
        ([("type", STRING, "longrope")], RopeScaling("longrope", 1.0)),
    ],
)
def test_rope_scaling(keys: list[tuple[str, int, object]], scaling: RopeScaling | None, tmp_path: Path) -> None:
    content = model(*(key(f"llama.rope.scaling.{name}", kind, value) for name, kind, value in keys))
    assert config_of(tmp_path, content).rope_scaling == scaling


def test_the_older_linear_key(tmp_path: Path) -> None:
    assert config_of(tmp_path, model(key("llama.rope.scale_linear", F32, 8.0))).rope_scaling == RopeScaling("linear", 8)


@pytest.mark.parametrize("name", ["general.architecture", "llama.block_count", "llama.context_length"])
def test_no_config_without_a_required_key(name: str, tmp_path: Path) -> None:
    file = open_model(tmp_path, model(**{name.replace(".", "__"): None}))
    assert file.config is None
    assert file.no_config == f"the file has no key {name}"
    assert file.tokenizer is not None


def test_no_config_where_layers_differ(tmp_path: Path) -> None:
    content = model(array("llama.feed_forward_length", U32, [16, 32]), llama__feed_forward_length=None)
    assert "varies from layer to layer" in open_model(tmp_path, content).no_config


def test_no_config_without_any_vocabulary(tmp_path: Path) -> None:
    file = open_model(tmp_path, BYTES["gguf"](BYTES["model_keys"]()))
    assert file.config is None and file.tokenizer is None
    assert "llama.vocab_size" in file.no_config
