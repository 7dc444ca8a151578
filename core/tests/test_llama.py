"""The llama family as a graph."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest

from realizar.architectures.llama import Llama
from realizar.dtypes import DTYPES
from realizar.errors import ModelError
from realizar.graph import Block, Graph
from realizar.reference import Numpy64Backend
from realizar.testing.driver import Driver, Program, whole
from realizar.testing.models import TinyModel, memory_tensor, tiny_model


def build(model: TinyModel) -> Graph:
    return Llama().build(model.config, model.tensors)


def ops(block: Block) -> list[str]:
    return [node.op for node in block.nodes]


def test_blocks_and_layers() -> None:
    graph = build(tiny_model(num_hidden_layers=3))
    assert [block.name for block in graph.blocks] == ["embed", "layer 0", "layer 1", "layer 2", "head"]
    assert [block.layer_id for block in graph.blocks] == [None, 0, 1, 2, None]
    assert graph.attention_layers == ((2, 16),) * 3
    assert len({block.signature for block in graph.blocks}) == 3
    assert ops(graph.blocks[0]) == ["embedding"]
    assert ops(graph.blocks[1]) == [
        "rms_norm", "linear", "linear", "linear", "rope", "rope", "attention", "linear", "add",
        "rms_norm", "linear", "linear", "act_mul", "linear", "add",
    ]  # fmt: skip
    assert ops(graph.blocks[-1]) == ["gather_rows", "rms_norm", "linear"]


def test_every_tensor_is_used() -> None:
    for options in ({}, {"tied": False}, {"biased": True}):
        model = tiny_model(**options)  # type: ignore[arg-type]
        assert build(model).tensor_ops.keys() == model.tensors.keys()


def test_tied_embedding_is_the_output_layer() -> None:
    tied, untied = build(tiny_model()), build(tiny_model(tied=False))
    assert tied.tensor_ops["model.embed_tokens.weight"] == {"embedding", "linear"}
    assert untied.tensor_ops["model.embed_tokens.weight"] == {"embedding"}
    assert untied.tensor_ops["lm_head.weight"] == {"linear"}


def test_attributes_come_from_the_configuration() -> None:
    graph = build(tiny_model(model_type="mistral", sliding_window=7, hidden_act="gelu", rms_norm_eps=0.5))
    nodes = {node.op: node for node in graph.blocks[1].nodes}
    assert nodes["attention"].attrs == {
        "num_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "scale": 0.25, "sliding_window": 7, "softcap": 0.0,
        "alibi_slopes": (),
        "causal": True,
    }  # fmt: skip
    assert nodes["act_mul"].attrs == {"kind": "gelu"}
    assert nodes["rms_norm"].attrs == {"eps": 0.5}
    assert len(nodes["rope"].attrs["inv_freq"]) == 8


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight", "model.norm.weight"]
)
def test_a_missing_tensor_is_named(name: str) -> None:
    model = tiny_model()
    tensors = {key: tensor for key, tensor in model.tensors.items() if key != name}
    with pytest.raises(ModelError, match=f"tensor '{name}' is missing; the file has {len(tensors)} tensors"):
        Llama().build(model.config, tensors)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.0.mlp.down_proj.weight", r"\(64, 128\)"),
        ("model.layers.1.self_attn.q_proj.bias", r"\(64,\)"),
        ("model.norm.weight", r"\(64,\)"),
    ],
)
def test_a_misshapen_tensor_is_named(name: str, expected: str) -> None:
    model = tiny_model(biased=True)
    wrong = memory_tensor(name, np.zeros((3, 5), np.float32), DTYPES["F32"])
    with pytest.raises(ModelError, match=rf"{name}: shape \(3, 5\), but the configuration says {expected}"):
        Llama().build(model.config, {**model.tensors, name: wrong})


def test_unknown_activation_is_an_error() -> None:
    model = tiny_model(hidden_act="swoosh")
    with pytest.raises(ModelError, match="swoosh"):
        build(model)


def logits(model: TinyModel, ids: list[int]) -> np.ndarray[Any, Any]:
    program = Program(build(model), model.tensors, (tuple(ids),), (True,))
    return Driver(Numpy64Backend(), program).run(whole(program.prompts))[0]


def test_one_layer_by_hand() -> None:
    """The whole model written out once more, token by token, in float64."""
    model = tiny_model(num_hidden_layers=1, biased=True, tied=False)
    config = model.config
    w = {name: tensor.to_float32().astype(np.float64) for name, tensor in model.tensors.items()}
    layer = {name.removeprefix("model.layers.0."): value for name, value in w.items()}
    ids = [5, 250, 5, 17]

    def norm(x: Any, weight: Any) -> Any:
        return x / np.sqrt((x * x).mean() + config.rms_norm_eps) * weight

    def rotate(head: Any, position: int) -> Any:
        pairs = head[:8] + 1j * head[8:]  # halves are paired, as real and imaginary parts
        turned = pairs * np.exp(1j * position * 10000.0 ** (-np.arange(8) / 8))
        return np.concatenate([turned.real, turned.imag])

    def project(x: Any, name: str) -> Any:
        return (layer[f"self_attn.{name}.weight"] @ x + layer[f"self_attn.{name}.bias"]).reshape(-1, 16)

    keys, values, rows = [], [], []
    for position, token in enumerate(ids):
        x = w["model.embed_tokens.weight"][token]
        h = norm(x, layer["input_layernorm.weight"])
        keys.append([rotate(head, position) for head in project(h, "k_proj")])
        values.append(project(h, "v_proj"))
        attended = []
        for n, query in enumerate(project(h, "q_proj")):
            query = rotate(query, position)
            scores = np.exp([query @ key[n // 2] / 4 for key in keys])
            attended.append(sum(s * value[n // 2] for s, value in zip(scores / scores.sum(), values, strict=True)))
        x = x + layer["self_attn.o_proj.weight"] @ np.concatenate(attended)
        h = norm(x, layer["post_attention_layernorm.weight"])
        gate, up = layer["mlp.gate_proj.weight"] @ h, layer["mlp.up_proj.weight"] @ h
        x = x + layer["mlp.down_proj.weight"] @ (gate / (1 + np.exp(-gate)) * up)
        rows.append(w["lm_head.weight"] @ norm(x, w["model.norm.weight"]))
    np.testing.assert_allclose(logits(model, ids), np.array(rows), rtol=1e-5, atol=1e-6)


def test_sliding_window_forgets() -> None:
    """With a window of 3 in one layer the last token cannot see the first."""
    model = tiny_model(num_hidden_layers=1, sliding_window=3)
    first, second = logits(model, [1, 2, 3, 4]), logits(model, [9, 2, 3, 4])
    assert np.array_equal(first[-1], second[-1])
    assert not np.array_equal(first[-2], second[-2])
    wide = attrs.evolve(model, config=attrs.evolve(model.config, sliding_window=4))
    assert not np.array_equal(logits(wide, [1, 2, 3, 4])[-1], logits(wide, [9, 2, 3, 4])[-1])
