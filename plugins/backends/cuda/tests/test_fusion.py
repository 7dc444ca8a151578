"""Which launches the nodes of a layer become."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import attrs
import pytest

from realizar.architectures.gemma3 import Gemma3
from realizar.architectures.llama import Llama
from realizar.testing.driver import Driver, Program
from realizar.testing.models import tiny_model
from realizar_cuda.kernels import base_name

_SPEC = importlib.util.spec_from_file_location("test_launches", Path(__file__).parent / "test_launches.py")
assert _SPEC is not None and _SPEC.loader is not None
launches = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(launches)


def names_of(graph, tensors) -> list[str]:
    backend = launches.Recording()
    Driver(backend, Program(graph, tensors, ((1,),), (True,))).run((((0, 1),),))
    return [name for name, *_ in backend.launches]


def test_a_llama_layer_is_six_launches():
    model = tiny_model("Q4_1")
    names = names_of(Llama().build(model.config, model.tensors), model.tensors)
    layer = [base_name(name) for name in names]
    assert layer == [
        "embed_quantized",
        *["gemv", "heads", "attention", "gemv", "gemv", "gemv"] * 2,
        "gather_rows",
        "gemv",
    ]
    epilogues = [name.rpartition(" ")[2].rstrip(">") for name in names if base_name(name) == "gemv"]
    assert epilogues == ["STORE", "ADD", "GATED", "ADD"] * 2 + ["STORE"]


def test_norms_of_heads_and_after_sublayers():
    """Gemma 3 norms q and k, which heads.cu does, and what sublayers give, which stays on its own."""
    model = tiny_model(model_type="gemma3_text", hidden_act="gelu_tanh")
    tensors = dict(model.tensors)
    for i in range(2):
        prefix = f"model.layers.{i}."
        norm = tensors[f"{prefix}input_layernorm.weight"]
        head = attrs.evolve(
            norm, shape=(model.config.head_dim,), read=lambda norm=norm: norm.read()[: model.config.head_dim]
        )
        tensors |= {
            f"{prefix}{name}.weight": norm for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm")
        }
        tensors |= {f"{prefix}self_attn.{name}_norm.weight": head for name in "qk"}
    found = Counter(base_name(name) for name in names_of(Gemma3().build(model.config, tensors), tensors))
    assert found["heads"] == found["attention"] == 2 and found["rms_norm"] == 4 and not found["rope"]


@pytest.mark.parametrize("biased", [True, False])
def test_biases_stay_in_the_products(biased):
    model = tiny_model(biased=biased)
    names = names_of(Llama().build(model.config, model.tensors), model.tensors)
    assert Counter(map(base_name, names))["gemv"] == 2 * 4 + 1
