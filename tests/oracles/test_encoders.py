"""Encoders, and decoders that give embeddings, against transformers in float32, as `test_families` does it.

Hidden states of tiny models with random weights are compared, of each sequence alone and of all in one batch;
transformers pads there, we do not. Where REALIZAR_LLAMA_CPP_MODELS names the `models` folder of a llama.cpp source
tree, its converter writes GGUF files.
"""

from __future__ import annotations

import contextlib
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from realizar.model import ModelConfig
from realizar.plugins import host
from realizar.selection import build_graph, named
from realizar.tensors import LazyTensor
from realizar.testing.driver import Driver, Program, Prompts, one_by_one, whole

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

_FAMILIES = runpy.run_path(str(Path(__file__).with_name("test_families.py")))
TOLERANCE, VOCAB_SIZE, LLAMA_CPP = (_FAMILIES[name] for name in ("TOLERANCE", "VOCAB_SIZE", "LLAMA_CPP"))

LENGTHS = (23, 1, 9, 40, 17)

_SIZES = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3,
    "num_attention_heads": 6, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
_ROBERTA = {**_SIZES, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}

_DECODER = {**_SIZES, "num_key_value_heads": 2, "head_dim": 16, "bos_token_id": 1, "eos_token_id": 2}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", _SIZES),
    "bert, relu": ("bert", {**_SIZES, "hidden_act": "relu", "layer_norm_eps": 1e-2, "type_vocab_size": 3}),
    "roberta": ("roberta", _ROBERTA),
    "xlm-roberta": ("xlm-roberta", {**_ROBERTA, "pad_token_id": 3}),
    "camembert": ("camembert", _ROBERTA),
    "nomic_bert": ("nomic_bert", _SIZES),
    "qwen3": ("qwen3", _DECODER),
    "llama": ("llama", _DECODER),
}


def random_model(model_type: str, values: dict[str, Any]) -> Any:
    """Weights loud enough that every part shows in the hidden states; norms, biases and positions too."""
    torch.manual_seed(7)
    config = transformers.CONFIG_MAPPING[model_type](**values)
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(1.5 * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    return model


def prompts() -> Prompts:
    return tuple(
        tuple(np.random.default_rng(i).integers(5, VOCAB_SIZE, length).tolist()) for i, length in enumerate(LENGTHS)
    )


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.proves("transformers", family="{name}", format="safetensors", backend="{backend}")
def test_hidden_states(name, backend, tmp_path):
    if backend not in {record.name for record in host().contributions("backend")}:
        pytest.skip(f"backend {backend} is not installed")
    model = random_model(*CASES[name])
    config, tensors = _FAMILIES["saved"](model, tmp_path)
    assert config.unknown == ()
    check(model, attrs.evolve(config, pooling_type="last"), tensors, backend)


@pytest.mark.skipif(not LLAMA_CPP, reason="REALIZAR_LLAMA_CPP_MODELS names no folder of a llama.cpp source tree")
@pytest.mark.parametrize("name", ["bert", "roberta"])
@pytest.mark.proves("transformers", family="{name}", format="gguf", backend="numpy")
def test_hidden_states_through_llama_cpp_s_converter(name, tmp_path):
    read_gguf = pytest.importorskip("realizar_gguf.reader").read_gguf
    model = random_model(*CASES[name])
    model.save_pretrained(tmp_path)
    file = read_gguf(_FAMILIES["converted"](tmp_path))
    assert file.config is not None, file.no_config
    assert not file.config.is_causal
    check(model, file.config, file.tensors, "numpy")


def check(model: Any, config: ModelConfig, tensors: Mapping[str, LazyTensor], backend: str) -> None:
    expected = hidden_states(model)
    spread = max(float(np.std(rows)) for rows in expected)
    assert spread > 0.1
    graph = build_graph(config, tensors)
    assert graph.output == "last" and graph.is_causal == config.is_causal
    program = Program(graph, tensors, prompts(), (True,) * len(LENGTHS))
    with contextlib.closing(named("backend", backend, host()).contribution()) as engine:
        driver = Driver(engine, program, kv_type="F32", block_size=16)
        for how, schedule in {"batch": whole(prompts()), "alone": one_by_one(prompts())}.items():
            driver.restart()
            found = driver.run(schedule)
            worst = max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
            print(f"{config.model_type} on {backend}, {how}: {worst:.1e}; states have deviation {spread:.2f}")
            assert worst <= TOLERANCE


def hidden_states(model: Any) -> list[np.ndarray]:
    """Of each prompt, from one padded batch; masked attention makes padding invisible."""
    longest, padding = max(LENGTHS), model.config.pad_token_id
    ids = torch.tensor([[*prompt, *[padding] * (longest - len(prompt))] for prompt in prompts()])
    mask = torch.tensor([[1] * length + [0] * (longest - length) for length in LENGTHS])
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return [rows[:length].numpy() for rows, length in zip(states, LENGTHS, strict=True)]
