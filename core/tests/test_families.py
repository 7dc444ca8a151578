"""The families of core as graphs; their logits against transformers: tests/oracles/test_families.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from realizar.architectures.alibi import alibi_slopes
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.families import FAMILIES
from realizar.dtypes import DTYPES
from realizar.errors import ModelError
from realizar.graph import Graph, Node
from realizar.model import FULL, SLIDING, ModelConfig
from realizar.tensors import LazyTensor
from realizar.testing.models import memory_tensor, tiny_encoder, tiny_model

SMALL: dict[str, Any] = {
    "hidden_size": 16, "head_dim": 4, "intermediate_size": 24, "num_hidden_layers": 3, "vocab_size": 9,
}  # fmt: skip
EXPERTS: dict[str, Any] = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
BY_TYPE = {model_type: family for family in FAMILIES for model_type in family.model_types}


class AnyTensors(dict[str, LazyTensor]):
    """Zeros for every tensor that some family reads in all layers; `shapes`: more of them, by name within a layer."""

    def __init__(self, config: ModelConfig, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        c = config
        hidden, query, key = c.hidden_size, c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        ffn = {"mlp": c.intermediate_size, "mlp.shared_expert": 12}
        vectors = ["input_layernorm", "post_attention_layernorm"]
        self.put("model.embed_tokens.weight", c.vocab_size, hidden)
        self.put("model.norm.weight", hidden)
        for i in range(c.num_hidden_layers):
            layer = f"model.layers.{i}."
            for name in vectors:
                self.put(f"{layer}{name}.weight", hidden)
            for name, rows in (("q", query), ("k", key), ("v", key)):
                self.put(f"{layer}self_attn.{name}_proj.weight", rows, hidden)
            self.put(f"{layer}self_attn.o_proj.weight", hidden, query)
            for name, size in ffn.items():
                self.put(f"{layer}{name}.gate_proj.weight", size, hidden)
                self.put(f"{layer}{name}.up_proj.weight", size, hidden)
                self.put(f"{layer}{name}.down_proj.weight", hidden, size)
            for name, shape in shapes.items():
                self.put(f"{layer}{name}", *shape)

    def put(self, name: str, *shape: int) -> None:
        self[name] = memory_tensor(name, np.zeros(shape, np.float32), DTYPES["F32"])

    def only(self, *parts: str) -> AnyTensors:
        """Drop the layers' tensors that have none of these parts in their names."""
        for name in [n for n in self if n.startswith("model.layers.") and not any(part in n for part in parts)]:
            del self[name]
        return self


PLAIN = ("layernorm", "self_attn", "mlp.up", "mlp.down")
GATED = (*PLAIN, "mlp.gate_proj")


def build(model_type: str, *parts: str, shapes: dict[str, tuple[int, ...]] | None = None, **changes: Any) -> Graph:
    config = tiny_model(model_type=model_type, **(SMALL | changes)).config
    return BY_TYPE[model_type].build(config, AnyTensors(config, **(shapes or {})).only(*(parts or GATED)))


def ops(graph: Graph, block: int = 1) -> list[str]:
    return [node.op for node in graph.blocks[block].nodes]


def nodes(graph: Graph, op: str) -> list[Node]:
    return [node for block in graph.blocks for node in block.nodes if node.op == op]


NORMS = {"self_attn.q_norm.weight": (4,), "self_attn.k_norm.weight": (4,)}
POST = {"pre_feedforward_layernorm.weight": (16,), "post_feedforward_layernorm.weight": (16,)}

LLAMA = ["rms_norm", *["linear"] * 3, "rope", "rope", "attention", "linear", "add",
         "rms_norm", "linear", "linear", "act_mul", "linear", "add"]  # fmt: skip


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "phi3", "granite", "smollm3", "gemma"])
def test_families_that_are_llama_with_other_numbers(model_type: str) -> None:
    assert ops(build(model_type)) == LLAMA


def test_names_and_types_are_unique() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert len(BY_TYPE) == sum(len(family.model_types) for family in FAMILIES)


def test_normed_queries_and_keys() -> None:
    graph = build("qwen3", shapes=NORMS)
    assert ops(graph)[4:8] == ["rms_norm", "rms_norm", "rope", "rope"]
    rows = {
        "self_attn.q_norm.weight": (16,),
        "self_attn.k_norm.weight": (8,),
        "post_feedforward_layernorm.weight": (16,),
    }
    graph = build("olmo2", "self_attn", "post_", "mlp.gate_proj", "mlp.up", "mlp.down", shapes=rows)
    assert [op for op in ops(graph) if op != "linear"] == [
        "rms_norm", "rms_norm", "rope", "rope", "attention", "rms_norm", "add", "act_mul", "rms_norm", "add",
    ]  # fmt: skip


_ONE_NORM = ("input_layernorm", "self_attn", "mlp.up", "mlp.down")


@pytest.mark.parametrize(
    ("model_type", "parts", "shapes"),
    [
        ("stablelm", GATED, [(4, 4), (2, 4)]),
        ("cohere", (*_ONE_NORM, "mlp.gate_proj"), [(4, 4), (2, 4)]),
        ("phi", _ONE_NORM, [(4,), (4,)]),
    ],
)
def test_norms_of_heads(model_type: str, parts: tuple[str, ...], shapes: list[tuple[int, ...]]) -> None:
    norms = {f"self_attn.{name}_norm.weight": shape for name, shape in zip("qk", shapes, strict=True)}
    graph = build(model_type, *parts, shapes=norms, use_qk_norm=True)
    assert ops(graph)[4:8] == ["layer_norm", "layer_norm", "rope", "rope"]
    assert [graph.blocks[1].weights[name].shape for name in norms] == shapes
    with pytest.raises(ModelError, match="self_attn.q_norm.weight' is missing"):
        build(model_type, *parts, use_qk_norm=True)


def test_bert() -> None:
    model = tiny_encoder()
    graph = BY_TYPE["bert"].build(model.config, model.tensors)
    assert ops(graph, 0) == ["embedding", "embedding", "add", "embedding", "add", "layer_norm"]
    assert ops(graph) == [*["linear"] * 3, "attention", "linear", "add", "layer_norm",
                          "linear", "act", "linear", "add", "layer_norm"]  # fmt: skip
    assert ops(graph, -1) == ["gather_rows"]
    assert (graph.output, graph.is_causal) == ("last", False)
    assert graph.tensor_ops.keys() == model.tensors.keys()
    single = tiny_encoder(type_vocab_size=None)
    assert ops(BY_TYPE["bert"].build(single.config, single.tensors), 0).count("embedding") == 2


def test_nomic_bert() -> None:
    shapes = {"post_feedforward_layernorm.weight": (16,)}
    config = tiny_model(model_type="nomic_bert", is_causal=False, **SMALL).config
    tensors = AnyTensors(config, **shapes).only("post_", *GATED[1:])
    tensors.put("model.embed_layernorm.weight", 16)
    graph = BY_TYPE["nomic_bert"].build(config, tensors)
    assert ops(graph, 0) == ["embedding", "layer_norm"]
    assert ops(graph) == [*["linear"] * 3, "rope", "rope", "attention", "linear", "add", "layer_norm",
                          "linear", "linear", "act_mul", "linear", "add", "layer_norm"]  # fmt: skip


def test_a_decoder_that_gives_embeddings_ends_with_its_norm() -> None:
    graph = build("llama", pooling_type="last")
    assert ops(graph, -1) == ["gather_rows", "rms_norm"]
    assert (graph.output, graph.is_causal, "logits" in graph.values) == ("last", True, False)


def test_gemma_3() -> None:
    graph = build(
        "gemma3_text", shapes=NORMS | POST, num_hidden_layers=2, layer_types=(SLIDING, FULL), sliding_window=5,
        rope_theta=1e6, rope_local_base_freq=1e4, query_pre_attn_scalar=16.0, final_logit_softcapping=30.0,
    )  # fmt: skip
    assert [op for op in ops(graph) if op != "linear"] == [
        "rms_norm", "rms_norm", "rms_norm", "rope", "rope", "attention", "rms_norm", "add",
        "rms_norm", "act_mul", "rms_norm", "add",
    ]  # fmt: skip
    assert nodes(graph, "embedding")[0].attrs["scale"] == 4.0
    assert [node.attrs["sliding_window"] for node in nodes(graph, "attention")] == [5, 0]
    assert [node.attrs["scale"] for node in nodes(graph, "attention")] == [0.25, 0.25]
    assert [node.attrs["inv_freq"][1] for node in nodes(graph, "rope")] == [0.01, 0.01, 0.001, 0.001]
    assert ops(graph, -1) == ["gather_rows", "rms_norm", "linear", "softcap"]


def test_layers_without_rotary_positions() -> None:
    graph = build("smollm3", no_rope_layers=(1, 0, 1))
    assert [ops(graph, i).count("rope") for i in (1, 2, 3)] == [2, 0, 2]


def test_factors_are_nodes() -> None:
    factors = {
        "residual_multiplier": 0.5,
        "logit_scale": 0.125,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.1,
    }
    graph = build("granite", **factors)
    assert [node.attrs["factor"] for node in nodes(graph, "scale")] == [0.5] * 6 + [0.125]
    assert nodes(graph, "embedding")[0].attrs["scale"] == 3.0
    assert nodes(graph, "attention")[0].attrs["scale"] == 0.1
    assert not nodes(build("llama"), "scale")


def test_parallel_sublayers_read_the_same_rows() -> None:
    graph = build("phi", "input_layernorm", "self_attn", "mlp.up", "mlp.down", use_parallel_residual=True)
    assert ops(graph) == [
        "layer_norm", *["linear"] * 3, "rope", "rope", "attention", "linear", "linear", "act", "linear", "add", "add",
    ]  # fmt: skip
    readers = [node for node in graph.blocks[1].nodes if node.inputs[0] == "normed"]
    assert len(readers) == 4
    two = build("gpt_neox", *PLAIN, use_parallel_residual=True, num_ln_in_parallel_attn=2)
    second = [i for i, op in enumerate(ops(two)) if op == "layer_norm"][1]
    assert "add" not in ops(two)[:second]  # the second norm reads what the first one read
    assert ops(build("gpt_neox", *PLAIN)).index("add") < ops(build("gpt_neox", *PLAIN)).index("act")


def test_learned_positions() -> None:
    config = tiny_model(model_type="gpt2", **SMALL).config
    tensors = AnyTensors(config).only(*PLAIN)
    tensors.put("model.embed_positions.weight", config.max_position_embeddings, 16)
    graph = BY_TYPE["gpt2"].build(config, tensors)
    assert ops(graph, 0) == ["embedding", "embedding", "add"]
    assert nodes(graph, "embedding")[1].inputs[0] == "positions"
    assert not nodes(graph, "rope")


def test_learned_positions_where_a_family_has_none_are_refused() -> None:
    with pytest.raises(ModelError, match="this mpt model has no alibi_bias_max"):
        build("mpt", *PLAIN)
    config = tiny_model(**SMALL).config
    tensors = AnyTensors(config).only(*GATED)
    tensors.put("model.embed_positions.weight", 4, 16)
    with pytest.raises(ModelError, match="architecture 'llama' has no use for memory: model.embed_positions.weight;"):
        BY_TYPE["llama"].build(config, tensors)


@pytest.mark.parametrize("model_type", ["bloom", "mpt", "falcon"])
def test_linear_biases_instead_of_rotary_positions(model_type: str) -> None:
    config = tiny_model(model_type=model_type, **SMALL, alibi_bias_max=8.0).config
    tensors = AnyTensors(config).only(*PLAIN)
    if model_type == "bloom":
        tensors.put("model.embed_layernorm.weight", 16)
    graph = BY_TYPE[model_type].build(config, tensors)
    assert nodes(graph, "attention")[0].attrs["alibi_slopes"] == (2**-2, 2**-4, 2**-6, 2**-8)
    assert not nodes(graph, "rope")


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (1, [2**-8]),
        (8, [2.0**-i for i in range(1, 9)]),
        (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),  # of 4 heads, then every other one of 8
    ],
)
def test_slopes(heads: int, slopes: list[float]) -> None:
    config = tiny_model(num_attention_heads=heads, alibi_bias_max=8.0).config
    assert alibi_slopes(config) == tuple(slopes)
    halved = tiny_model(num_attention_heads=heads, alibi_bias_max=8.0, alibi_multiplier=0.5).config
    assert alibi_slopes(halved) == tuple(slope / 2 for slope in slopes)
    assert alibi_slopes(tiny_model().config) == ()


STACKS = {
    "mlp.gate.weight": (3, 16), "mlp.experts.gate_proj.weight": (3, 8, 16), "mlp.experts.up_proj.weight": (3, 8, 16),
    "mlp.experts.down_proj.weight": (3, 16, 8),
}  # fmt: skip


def test_experts() -> None:
    graph = build("mixtral", "layernorm", "self_attn", "experts", "mlp.gate.", shapes=STACKS, **EXPERTS)
    assert ops(graph)[-3:] == ["rms_norm", "moe_ffn", "add"]
    with pytest.raises(ModelError, match="no num_experts or no num_experts_per_tok"):
        build("mixtral", "layernorm", "self_attn", "experts", "mlp.gate.", shapes=STACKS)


def test_some_layers_without_experts() -> None:
    sizes = SMALL | EXPERTS | {"sparse_layers": (False, True, True)}
    config = tiny_model(model_type="qwen3_moe", **sizes).config
    tensors = AnyTensors(config, **STACKS, **NORMS).only("layernorm", "self_attn", "mlp")
    for name in [name for name in tensors if ".mlp." in name]:
        is_of_experts = "experts" in name or "mlp.gate.weight" in name
        if "shared_expert" in name or is_of_experts == (".layers.0." in name):
            del tensors[name]
    graph = BY_TYPE["qwen3_moe"].build(config, tensors)
    assert [ops(graph, i).count("moe_ffn") for i in (1, 2, 3)] == [0, 1, 1]


def test_an_expert_for_every_row() -> None:
    shapes = STACKS | {"mlp.shared_expert_gate.weight": (1, 16)}
    sizes = SMALL | EXPERTS | {"shared_expert_intermediate_size": 12, "sparse_layers": (True, False, True)}
    config = tiny_model(model_type="qwen2_moe", **sizes).config
    tensors = AnyTensors(config, **shapes)
    for name in [name for name in tensors if ".mlp." in name]:
        is_of_experts = "expert" in name or "mlp.gate.weight" in name
        if is_of_experts == (".layers.1." in name):
            del tensors[name]
    graph = BY_TYPE["qwen2_moe"].build(config, tensors)
    assert ops(graph)[-10:] == [
        "moe_ffn", "linear", "linear", "act_mul", "linear", "linear", "act", "mul", "add", "add",
    ]  # fmt: skip
    assert "moe_ffn" not in ops(graph, 2)
    assert graph.values["share"] == 1


def test_a_tensor_that_nobody_reads_is_refused() -> None:
    with pytest.raises(ModelError, match="architecture 'llama' has no use for memory: .*q_norm.weight and 5 more"):
        build("llama", shapes=NORMS)
    config = tiny_model(**SMALL).config
    tensors = AnyTensors(config).only(*GATED)
    tensors.put("blk.0.attn_sinks.weight", 4)
    with pytest.raises(ModelError, match="no use for memory: blk.0.attn_sinks.weight; is this another kind of model"):
        BY_TYPE["llama"].build(config, tensors)


def test_what_old_checkpoints_keep_beside_their_weights_is_not() -> None:
    config = tiny_model(**SMALL).config
    tensors = AnyTensors(config).only(*GATED)
    tensors.put("model.layers.0.self_attn.rotary_emb.inv_freq", 2)
    tensors.put("model.layers.0.attn.bias", 4)
    BY_TYPE["llama"].build(config, tensors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_types": (FULL,)}, "layer_types has 1 entries; expected 3, one for each layer"),
        ({"layer_types": (FULL, "chunked_attention", FULL)}, "layer_types has 'chunked_attention'; known: full_att"),
        ({"no_rope_layers": (1,) * 4}, "no_rope_layers has 4 entries"),
    ],
)
def test_layers_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build("llama", **changes)


def test_one_name_has_one_width() -> None:
    config = tiny_model(**SMALL).config
    b = DecoderBuilder("layer 0", "model.layers.0.", "rms_norm", config, AnyTensors(config), {"attended": 3}, 0)
    with pytest.raises(ModelError, match="layer 0: value 'attended' has 3 columns elsewhere, 16 here"):
        b.attention("x")


def test_tied_or_not() -> None:
    config = tiny_model(**SMALL, tie_word_embeddings=True).config
    tensors = AnyTensors(config).only(*GATED)
    tensors.put("lm_head.weight", 9, 16)
    assert "lm_head.weight" not in BY_TYPE["llama"].build(config, tensors).tensor_ops
    with pytest.raises(ModelError, match="tensor 'lm_head.weight' is missing"):
        build("llama", tie_word_embeddings=False)
