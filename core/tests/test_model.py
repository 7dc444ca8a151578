"""Configurations are structured from plain dicts, strictly."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from realizar.errors import ModelError
from realizar.model import ModelConfig, RopeScaling, structure_config
from realizar.testing.models import tiny_model

VALUES: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256,
}  # fmt: skip


def structure(**changes: Any) -> ModelConfig:
    return structure_config({**VALUES, **changes}, "model.x")


def test_defaults() -> None:
    config = structure()
    assert config == ModelConfig(**VALUES)
    assert (config.rms_norm_eps, config.rope_theta, config.hidden_act) == (1e-5, 10000.0, "silu")


def test_round_trip() -> None:
    config = tiny_model(rope_scaling=RopeScaling("llama3", 8.0, 8192)).config
    assert structure_config(attrs.asdict(config), "model.x") == config


def test_whole_floats_are_integers_and_integers_are_floats() -> None:
    config = structure(hidden_size=64.0, rope_theta=500000)
    assert (config.hidden_size, type(config.hidden_size)) == (64, int)
    assert (config.rope_theta, type(config.rope_theta)) == (500000.0, float)


@pytest.mark.parametrize("key", list(VALUES))
def test_a_missing_key_is_named(key: str) -> None:
    values = {k: v for k, v in VALUES.items() if k != key}
    with pytest.raises(ModelError, match=f"^model.x: the model configuration is incomplete or mistyped: .*{key}"):
        structure_config(values, "model.x")


@pytest.mark.parametrize("value", ["64", 64.5, True, None, [64], float("nan"), float("inf")])
def test_a_mistyped_size_is_named(value: Any) -> None:
    with pytest.raises(ModelError, match="model.x: the model configuration is incomplete or mistyped: .*hidden_size"):
        structure(hidden_size=value)


@pytest.mark.parametrize("value", ["big", False, None])
def test_a_mistyped_number_is_named(value: Any) -> None:
    with pytest.raises(ModelError, match="rope_theta"):
        structure(rope_theta=value)


def test_scaling_is_structured() -> None:
    config = structure(rope_scaling={"rope_type": "linear", "factor": 2})
    assert config.rope_scaling == RopeScaling("linear", 2.0)
    with pytest.raises(ModelError, match="rope_scaling.*rope_type"):
        structure(rope_scaling={"factor": 2})


def test_unknown_keys_are_kept_in_order() -> None:
    config = structure_config({**VALUES, "zeta": 1, "alpha": 2}, "model.x", ["llama.odd"])
    assert config.unknown == ("llama.odd", "alpha", "zeta")
