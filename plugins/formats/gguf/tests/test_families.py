"""Files of every architecture, with the tensors that llama.cpp's converter writes, become graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.graph import Graph
from realizar.model import FULL, SLIDING, ModelFile
from realizar.selection import build_graph
from realizar_gguf.families import FAMILIES
from realizar_gguf.reader import read_gguf
from realizar_gguf.writer import write_gguf

D, Q, KV, F, E, V, LAYERS = 16, 16, 8, 24, 3, 9, 2

SHAPES: dict[str, tuple[int, ...]] = {
    "attn_output_norm": (D,), "layer_output_norm": (D,),
    "attn_norm": (D,), "attn_norm_2": (D,), "ffn_norm": (D,), "post_attention_norm": (D,), "post_ffw_norm": (D,),
    "attn_q": (Q, D), "attn_k": (KV, D), "attn_v": (KV, D), "attn_output": (D, Q), "attn_qkv": (Q + 2 * KV, D),
    "attn_q_norm": (4,), "attn_k_norm": (4,),
    "ffn_gate": (F, D), "ffn_up": (F, D), "ffn_down": (D, F), "ffn_gate_inp": (E, D), "ffn_gate_inp_shexp": (D,),
    "ffn_gate_exps": (E, 12, D), "ffn_up_exps": (E, 12, D), "ffn_down_exps": (E, D, 12),
    "ffn_gate_shexp": (20, D), "ffn_up_shexp": (20, D), "ffn_down_shexp": (D, 20),
}  # fmt: skip

_QKV = "attn_q attn_k attn_v attn_output "
_GATED = "ffn_gate ffn_up ffn_down "
_LLAMA = "attn_norm ffn_norm " + _QKV + _GATED
_EXPERTS = "ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps "
_GEMMA2 = _LLAMA + "post_attention_norm post_ffw_norm "
_FUSED = "attn_qkv attn_output ffn_up ffn_down "

PARTS: dict[str, str] = {
    "llama": _LLAMA, "llama, experts": "attn_norm ffn_norm " + _QKV + _EXPERTS, "qwen2": _LLAMA,
    "qwen2moe": "attn_norm ffn_norm ffn_gate_inp_shexp ffn_gate_shexp ffn_up_shexp ffn_down_shexp " + _QKV + _EXPERTS,
    "qwen3": _LLAMA + "attn_q_norm attn_k_norm",
    "qwen3moe": "attn_norm ffn_norm attn_q_norm attn_k_norm " + _QKV + _EXPERTS,
    "phi3": "attn_norm ffn_norm attn_qkv attn_output ffn_down ffn_up", "granite": _LLAMA, "smollm3": _LLAMA,
    "olmo2": "post_attention_norm post_ffw_norm attn_q_norm attn_k_norm " + _QKV + _GATED,
    "gemma": _LLAMA, "gemma2": _GEMMA2, "gemma3": _GEMMA2 + "attn_q_norm attn_k_norm",
    "gpt2": "attn_norm ffn_norm " + _FUSED, "gptneox": "attn_norm ffn_norm " + _FUSED,
    "phi2": "attn_norm ffn_up ffn_down " + _QKV, "stablelm": "attn_norm " + _QKV + _GATED,
    "starcoder2": "attn_norm ffn_norm ffn_up ffn_down " + _QKV, "command-r": "attn_norm " + _QKV + _GATED,
    "falcon": "attn_norm " + _FUSED, "falcon, two norms": "attn_norm attn_norm_2 " + _FUSED,
    "bloom": "attn_norm ffn_norm " + _FUSED, "mpt": "attn_norm ffn_norm " + _FUSED,
    "bert": "attn_output_norm layer_output_norm ffn_up ffn_down " + _QKV,
    "nomic-bert": "attn_output_norm layer_output_norm attn_qkv attn_output " + _GATED,
}  # fmt: skip

_TWO_EXPERTS = {"expert_count": E, "expert_used_count": 2}
KEYS: dict[str, dict[str, object]] = {
    "llama, experts": {**_TWO_EXPERTS, "feed_forward_length": 12},
    "qwen2moe": {**_TWO_EXPERTS, "expert_feed_forward_length": 12, "expert_shared_feed_forward_length": 20},
    "qwen3moe": {**_TWO_EXPERTS, "expert_feed_forward_length": 12},
    "mpt": {"attention.max_alibi_bias": 8.0},
}
RESHAPED: dict[str, dict[str, tuple[int, ...]]] = {
    "phi3": {"ffn_up": (2 * F, D)},
    "olmo2": {"attn_q_norm": (Q,), "attn_k_norm": (KV,)},
}
EXTRA: dict[str, dict[str, tuple[int, ...]]] = {
    "gpt2": {"position_embd": (64, D)},
    "bloom": {"token_embd_norm": (D,)},
    "bert": {"token_embd_norm": (D,), "position_embd": (64, D), "token_types": (2, D)},
    "nomic-bert": {"token_embd_norm": (D,), "token_types": (2, D)},
}


def open_model(folder: Path, name: str, extra: dict[str, tuple[int, ...]] | None = None, **keys: object) -> ModelFile:
    """A file of that architecture; tensors count upwards from 0."""
    shapes = {f"{part}.weight": shape for part, shape in (EXTRA.get(name, {}) | (extra or {})).items()}
    shapes |= {"token_embd.weight": (V, D)}
    if "layer_output_norm" not in PARTS[name]:
        shapes["output_norm.weight"] = (D,)
    sizes = SHAPES | RESHAPED.get(name, {})
    shapes |= {f"blk.{i}.{part}.weight": sizes[part] for i in range(LAYERS) for part in PARTS[name].split()}
    architecture = name.partition(",")[0]
    metadata: dict[str, object] = {
        "embedding_length": D, "feed_forward_length": F, "block_count": LAYERS, "attention.head_count": 4,
        "attention.head_count_kv": 2, "context_length": 64, **KEYS.get(name, {}), **keys,
    }  # fmt: skip
    named = {f"{architecture}.{key}": value for key, value in metadata.items()}
    tensors = [
        (tensor, shape, DTYPES["F32"], np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
        for tensor, shape in shapes.items()
    ]
    path = folder / "model.gguf"
    write_gguf(path, {"general.architecture": architecture, **named}, tensors)
    return read_gguf(path)


def graph_of(file: ModelFile) -> Graph:
    assert file.config is not None, file.no_config
    return build_graph(file.config, file.tensors)


def config_of(folder: Path, name: str, **keys: object) -> Any:
    file = open_model(folder, name, **keys)
    assert file.config is not None, file.no_config
    return file.config


def attributes(graph: Graph, op: str) -> list[Any]:
    return [node.attrs for block in graph.blocks for node in block.nodes if node.op == op]


def test_every_family_is_tried() -> None:
    assert PARTS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", PARTS)
def test_a_graph_from_what_the_converter_writes(name: str, tmp_path: Path) -> None:
    """Building it fails if a tensor is missing, misshapen, or read by nobody."""
    file = open_model(tmp_path, name)
    graph = graph_of(file)
    assert file.config is not None and file.config.model_type == FAMILIES[name].model_type
    assert graph.tensor_ops.keys() == file.tensors.keys()
    for tensor in file.tensors.values():
        assert tensor.read().shape == tensor.shape


@pytest.mark.parametrize("name", ["llama", "llama, experts", "granite", "smollm3", "command-r"])
def test_pairs_side_by_side_are_parted(name: str, tmp_path: Path) -> None:
    """Rows of each head of 4 are stored as 0, 2, 1, 3."""
    read = open_model(tmp_path, name).tensors["model.layers.1.self_attn.k_proj.weight"].read()
    assert (read[:, 0] / D).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize("name", ["qwen2", "gemma2", "phi2", "stablelm", "starcoder2", "olmo2"])
def test_halves_stay_as_they_are(name: str, tmp_path: Path) -> None:
    read = open_model(tmp_path, name).tensors["model.layers.1.self_attn.k_proj.weight"].read()
    assert (read[:, 0] / D).tolist() == list(range(KV))


def test_fused_rows_are_cut(tmp_path: Path) -> None:
    tensors = open_model(tmp_path, "phi3").tensors
    first = {
        name: tensors[f"model.layers.0.{name}.weight"].read()[0, 0] / D for name in ("mlp.gate_proj", "mlp.up_proj")
    }
    assert first == {"mlp.gate_proj": 0, "mlp.up_proj": F}
    assert tensors["model.layers.0.self_attn.v_proj.weight"].read()[0, 0] == D * (Q + KV)


def test_fused_rows_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="blk.0.attn_qkv.weight: shape .* says 24 fused rows"):
        open_model(tmp_path, "gpt2", **{"attention.head_count_kv": 1})


def test_which_norm_of_two(tmp_path: Path) -> None:
    tensors = open_model(tmp_path, "falcon, two norms").tensors
    assert tensors["model.layers.0.input_layernorm.weight"].source.endswith("blk.0.attn_norm_2.weight")
    assert tensors["model.layers.0.post_attention_layernorm.weight"].source.endswith("blk.0.attn_norm.weight")


def test_kinds_of_layers(tmp_path: Path) -> None:
    window = {"attention.sliding_window": 8}
    assert config_of(tmp_path, "gemma2").layer_types == (SLIDING, FULL)
    assert config_of(tmp_path, "gemma2").sliding_window == 4096
    assert config_of(tmp_path, "gemma3", **window).layer_types == (SLIDING, SLIDING)
    assert config_of(tmp_path, "gemma3").layer_types is None
    pattern = "attention.sliding_window_pattern"
    assert config_of(tmp_path, "gemma3", **window, **{pattern: 2}).layer_types == (SLIDING, FULL)
    assert config_of(tmp_path, "gemma3", **window, **{pattern: [False, True]}).layer_types == (FULL, SLIDING)
    with pytest.raises(FormatError, match="expected an array of 2 truth values, one for each layer"):
        config_of(tmp_path, "gemma3", **window, **{pattern: [True]})


def test_a_window_of_zero_is_none(tmp_path: Path) -> None:
    assert config_of(tmp_path, "phi3", **{"attention.sliding_window": 0}).sliding_window is None
    assert config_of(tmp_path, "phi3", **{"attention.sliding_window": 5}).sliding_window == 5


def test_gemma_3_has_two_thetas(tmp_path: Path) -> None:
    config = config_of(tmp_path, "gemma3", **{"rope.freq_base": 1e6})
    assert (config.rope_theta, config.rope_local_base_freq) == (1e6, 1e4)
    assert config_of(tmp_path, "gemma3", **{"rope.freq_base_swa": 5e3}).rope_local_base_freq == 5e3


def test_the_largest_gemma_scales_otherwise(tmp_path: Path) -> None:
    assert FAMILIES["gemma2"].derive({"num_hidden_layers": 46, "hidden_size": 4608, "num_attention_heads": 32}) == {
        "query_pre_attn_scalar": 144
    }
    assert config_of(tmp_path, "gemma2").query_pre_attn_scalar is None


def test_numbers_under_other_keys(tmp_path: Path) -> None:
    keys = {
        "logit_scale": 8.0, "residual_scale": 0.25, "embedding_scale": 12.0, "attention.scale": 0.125,
        "attention.layer_norm_rms_epsilon": 2.0**-20,
    }  # fmt: skip
    granite = config_of(tmp_path, "granite", **keys)
    assert (granite.logit_scale, granite.residual_multiplier, granite.embedding_multiplier) == (0.125, 0.25, 12.0)
    assert (granite.attention_scale, granite.rms_norm_eps, granite.unknown) == (0.125, 2.0**-20, ())
    cohere = config_of(tmp_path, "command-r", **{"logit_scale": 0.0625, "attention.layer_norm_epsilon": 2.0**-18})
    assert (cohere.logit_scale, cohere.layer_norm_eps) == (0.0625, 2.0**-18)
    assert config_of(tmp_path, "qwen2moe").norm_topk_prob is False
    assert config_of(tmp_path, "qwen3moe", expert_weights_norm=False).norm_topk_prob is False
    assert config_of(tmp_path, "stablelm").use_parallel_residual
    assert config_of(tmp_path, "smollm3").no_rope_layers == (1, 1)


HEAD_NORMS = {f"blk.{i}.attn_{name}_norm": (heads, 4) for i in range(LAYERS) for name, heads in (("q", 4), ("k", 2))}


@pytest.mark.parametrize(("name", "order"), [("stablelm", [0, 1, 2, 3]), ("command-r", [0, 2, 1, 3])])
def test_norms_of_each_head_are_known_by_their_tensors(name: str, order: list[int], tmp_path: Path) -> None:
    file = open_model(tmp_path, name, HEAD_NORMS)
    assert file.config is not None and file.config.use_qk_norm and not config_of(tmp_path, name).use_qk_norm
    norm = file.tensors["model.layers.1.self_attn.k_norm.weight"].read()
    assert norm.tolist() == [order, [4 + i for i in order]]
    assert len(attributes(graph_of(file), "layer_norm")) == 1 + 3 * LAYERS


def test_norms_of_other_heads_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"'blk.0.attn_q_norm.weight' with F32 of shape \(3, 4\) for 4 heads"):
        open_model(tmp_path, "command-r", HEAD_NORMS | {"blk.0.attn_q_norm": (3, 4)})


def test_sequential_layers_by_key(tmp_path: Path) -> None:
    graph = graph_of(open_model(tmp_path, "gptneox", use_parallel_residual=False))
    layer = [node.op for node in graph.blocks[1].nodes]
    assert layer.index("add") < layer.index("act")


def test_longrope_is_known_by_its_tensors(tmp_path: Path) -> None:
    factors = {"rope_factors_long": (2,), "rope_factors_short": (2,)}
    keys = {"rope.scaling.original_context_length": 16, "rope.scaling.attn_factor": 1.25}
    file = open_model(tmp_path, "phi3", factors, **keys)
    scaling = file.config.rope_scaling if file.config else None
    assert scaling is not None
    assert (scaling.rope_type, scaling.original_max_position_embeddings) == ("longrope", 16)
    assert scaling.attention_factor == 1.25


def test_yarn_s_factor_comes_on_top_of_the_logarithm(tmp_path: Path) -> None:
    keys = {"type": "yarn", "factor": 4.0, "original_context_length": 16, "attn_factor": 0.5, "yarn_beta_fast": 16.0}
    config = config_of(tmp_path, "qwen2", **{f"rope.scaling.{key}": value for key, value in keys.items()})
    assert config.rope_scaling.attention_factor == pytest.approx(0.5 * 1.1386294)  # 0.1 ln 4 + 1
    assert (config.rope_scaling.beta_fast, config.unknown) == (16.0, ())


def test_embeddings(tmp_path: Path) -> None:
    bert = config_of(tmp_path, "bert", pooling_type=2, **{"attention.causal": False})
    assert (bert.is_causal, bert.type_vocab_size, bert.hidden_act, bert.unknown) == (False, 2, "gelu", ())
    assert (bert.pooling_type, bert.normalize_embeddings) == ("cls", True)
    qwen = config_of(tmp_path, "qwen3", pooling_type=3)
    assert (qwen.is_causal, qwen.type_vocab_size, qwen.pooling_type) == (True, None, "last")
    for plain in (config_of(tmp_path, "qwen3", pooling_type=0), config_of(tmp_path, "qwen3")):
        assert (plain.pooling_type, plain.normalize_embeddings) == (None, False)
    file = open_model(tmp_path, "bert", pooling_type=4)
    assert (file.config, file.no_config) == (None, "bert.pooling_type is 4, which is not implemented")


def test_what_no_family_has_is_no_configuration(tmp_path: Path) -> None:
    file = open_model(tmp_path, "mpt", **{"attention.clamp_kqv": 8.0})
    assert (file.config, file.no_config) == (None, "mpt.attention.clamp_kqv is not implemented")


def test_mpt_without_linear_biases(tmp_path: Path) -> None:
    file = open_model(tmp_path, "mpt", **{"attention.max_alibi_bias": 0.0})
    assert file.config is None
    assert file.no_config == "mpt.attention.max_alibi_bias is 0; learned positions are not implemented"


def test_layers_of_a_file_without_tensors_are_limited(tmp_path: Path) -> None:
    keys = {"embedding_length": D, "feed_forward_length": F, "attention.head_count": 4, "context_length": 8}
    named = {f"smollm3.{key}": value for key, value in {**keys, "vocab_size": 9, "block_count": 1 << 30}.items()}
    write_gguf(tmp_path / "model.gguf", {"general.architecture": "smollm3", **named}, [])
    with pytest.raises(FormatError, match="smollm3.block_count = .* expected at most 65536"):
        read_gguf(tmp_path / "model.gguf")
