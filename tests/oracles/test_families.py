"""Every family against transformers in float32, on tiny models with random weights.

A model is built from a configuration, saved as a checkpoint, and read back as config.json and tensors; logits are then
compared on whole prompts, step by step, and beside each other in a batch. Where REALIZAR_LLAMA_CPP_MODELS names the
`models` folder of a llama.cpp source tree, that tree's converter makes a GGUF file of the checkpoint, and the same is
asked of that. Needs torch, transformers and safetensors.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realizar.architectures.rope import for_texts_of
from realizar.model import ModelConfig
from realizar.plugins import host
from realizar.selection import build_graph, named, open_model
from realizar.tensors import LazyTensor
from realizar.testing.driver import Driver, Program, Prompts, chunked, whole

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("realizar_safetensors")

TOLERANCE = 1e-4

VOCAB_SIZE = 96

_SIZES = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_NO_KV = {key: value for key, value in _SIZES.items() if key != "num_key_value_heads"}
_LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
_DYNAMIC = {**_LINEAR, "rope_type": "dynamic"}
_IDS = {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_FALCON = {**_IDS, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "max_position_embeddings": 64}
_GEMMA = {**_SIZES, "head_dim": 16, "num_hidden_layers": 7}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
_LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.0, 2.0, 3.0, 5.0], "original_max_position_embeddings": 16,
}  # fmt: skip
_MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 40, "num_experts": 5}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**_SIZES, "attention_bias": True, "mlp_bias": True}),
    "llama, linear": ("llama", {**_SIZES, "rope_parameters": _LINEAR}),
    "llama, dynamic": ("llama", {**_SIZES, "rope_parameters": _DYNAMIC}),
    "llama, llama3": ("llama", {**_SIZES, "rope_parameters": _LLAMA3}),
    "llama, yarn": ("llama", {**_SIZES, "rope_parameters": _YARN}),
    "mistral": ("mistral", {**_SIZES, "sliding_window": 5}),
    "mixtral": ("mixtral", {**_SIZES, "num_local_experts": 5, "sliding_window": 6}),
    "qwen2": ("qwen2", {**_SIZES, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "qwen3": ("qwen3", {**_SIZES, "head_dim": 16}),
    "qwen2_moe": ("qwen2_moe", {**_SIZES, **_MOE, "shared_expert_intermediate_size": 24, "mlp_only_layers": [1]}),
    "qwen3_moe": ("qwen3_moe", {**_SIZES, **_MOE, "norm_topk_prob": True, "head_dim": 16, "decoder_sparse_step": 2}),
    "qwen2_moe, all layers": ("qwen2_moe", {**_SIZES, **_MOE, "shared_expert_intermediate_size": 24}),
    "qwen3_moe, all layers": ("qwen3_moe", {**_SIZES, **_MOE, "norm_topk_prob": True, "head_dim": 16}),
    "phi3": ("phi3", {**_SIZES, "sliding_window": 7}),
    "phi3, partial": ("phi3", {
        **_SIZES, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
    "phi3, longrope": ("phi3", {**_SIZES, "rope_parameters": _LONGROPE, "original_max_position_embeddings": 16}),
    "granite": ("granite", {
        **_SIZES, "embedding_multiplier": 12.0, "attention_multiplier": 0.2, "residual_multiplier": 0.22,
        "logits_scaling": 8.0}),
    "smollm3": ("smollm3", {**_SIZES, "no_rope_layer_interval": 2}),
    "olmo2": ("olmo2", _SIZES),
    "gemma": ("gemma", {**_SIZES, "head_dim": 16}),
    "gemma2": ("gemma2", {**_GEMMA, "sliding_window": 5, "query_pre_attn_scalar": 20, "attn_logit_softcapping": 2.0}),
    "gemma3": ("gemma3_text", {**_GEMMA, "sliding_window": 5, "query_pre_attn_scalar": 20}),
    "gemma3, linear": ("gemma3_text", {
        **_GEMMA, "sliding_window": 5, "final_logit_softcapping": 3.0, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}),
    "gpt2": ("gpt2", {**_IDS, "n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 64}),
    "gpt_neox": ("gpt_neox", _NO_KV),
    "gpt_neox, sequential": ("gpt_neox", {**_NO_KV, "use_parallel_residual": False}),
    "phi": ("phi", _SIZES),
    "phi, norms of heads": ("phi", {**_SIZES, "qk_layernorm": True}),
    "stablelm": ("stablelm", {**_SIZES, "use_qkv_bias": True}),
    "stablelm, parallel": ("stablelm", {**_SIZES, "use_parallel_residual": True}),
    "stablelm, norms of heads": ("stablelm", {**_SIZES, "qk_layernorm": True}),
    "starcoder2": ("starcoder2", {**_SIZES, "sliding_window": 5}),
    "cohere": ("cohere", {**_SIZES, "logit_scale": 0.25}),
    "cohere, norms of heads": ("cohere", {**_SIZES, "use_qk_norm": True, "logit_scale": 0.5}),
    "falcon, 7b": ("falcon", _FALCON),
    "falcon, 40b": ("falcon", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon, rw": ("falcon", {
        **_FALCON, "multi_query": False, "alibi": True, "parallel_attn": False, "bias": True}),
    "bloom": ("bloom", {**_IDS, "hidden_size": 48, "n_layer": 3, "n_head": 6}),
    "mpt": ("mpt", {**_IDS, "d_model": 48, "n_layers": 3, "n_heads": 6, "max_seq_len": 64}),
}  # fmt: skip

LENGTHS = (23, 1, 9, 17)


def saved(model: Any, folder: Path) -> tuple[ModelConfig, dict[str, LazyTensor]]:
    """What we read of the checkpoint."""
    model.save_pretrained(folder)
    file = open_model(folder)
    assert file.config is not None, file.no_config
    return file.config, dict(file.tensors)


def random_model(model_type: str, values: dict[str, Any]) -> Any:
    """Weights loud enough that every part shows in the logits; norms and biases too, which start as ones and zeros."""
    torch.manual_seed(7)
    config = transformers.CONFIG_MAPPING[model_type](**values)
    attention = "sdpa" if values.get("alibi") else "eager"  # transformers' eager Falcon adds its linear biases twice
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            else:
                scale = 1.0 if "embed" in name or "wte" in name else 1.5
                parameter.copy_(scale * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    return model


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.proves("transformers", family="{name}", format="safetensors", backend="{backend}")
def test_logits(name, backend, tmp_path):
    if backend not in {record.name for record in host().contributions("backend")}:
        pytest.skip(f"backend {backend} is not installed")
    model = random_model(*CASES[name])
    config, tensors = saved(model, tmp_path)
    check(model, config, tensors, backend, prompts_of(name))


@pytest.mark.parametrize("length", [16, 64])
def test_longrope_by_the_length_of_the_context(length, tmp_path):
    """transformers goes by the length of each text: those that fit the original context are as in one no longer."""
    model = random_model(*CASES["phi3, longrope"])
    config, tensors = saved(model, tmp_path)
    prompts = tuple(prompt for prompt in prompts_of("any") if (len(prompt) <= 16) == (length == 16))
    assert len(prompts) == 2
    check(model, for_texts_of(config, tensors, length), tensors, "numpy", prompts)


def prompts_of(name: str) -> Prompts:
    """Sequences of LENGTHS; for longrope the long ones only, as transformers takes short factors for short texts."""
    prompts = tuple(
        tuple(np.random.default_rng(i).integers(3, VOCAB_SIZE, length).tolist()) for i, length in enumerate(LENGTHS)
    )
    return prompts[::3] if "longrope" in name else prompts


def check(model: Any, config: ModelConfig, tensors: Mapping[str, LazyTensor], backend: str, prompts: Prompts) -> None:
    """Compare logits however the prompts are cut into steps."""
    assert config.unknown == ()
    with torch.no_grad():
        expected = [model(torch.tensor([prompt])).logits[0].numpy() for prompt in prompts]
    spread = max(float(np.std(logits)) for logits in expected)
    assert spread > 0.1
    program = Program(build_graph(config, tensors), tensors, prompts, (True,) * len(prompts))
    with contextlib.closing(named("backend", backend, host()).contribution()) as engine:
        driver = Driver(engine, program, kv_type="F32", block_size=16)
        for how, schedule in {
            "prefill, in a batch": whole(prompts),
            "step by step": chunked(prompts, [1] * len(prompts)),
            "chunks beside each other": chunked(prompts, [5, 1, 2, 16][: len(prompts)]),
        }.items():
            driver.restart()
            found = driver.run(schedule)
            worst = max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
            print(f"{config.model_type} on {backend}, {how}: {worst:.1e}; logits have deviation {spread:.2f}")
            assert worst <= TOLERANCE


LLAMA_CPP = os.environ.get("REALIZAR_LLAMA_CPP_MODELS")

NOT_CONVERTED = (
    "falcon, rw", "qwen2_moe", "qwen3_moe", "phi, norms of heads",  # GGUF has no place for something in them
    "stablelm, norms of heads",  # the converter loses the norms, finds that it has, and stops
)  # fmt: skip

IN_GGUF: dict[str, dict[str, Any]] = {
    **{name: {} for name in CASES if name not in NOT_CONVERTED},
    "mistral": {"sliding_window": None},
    "mixtral": {"sliding_window": None},
    "starcoder2": {"sliding_window": None},
    "qwen2": {"use_sliding_window": False},
    "smollm3": {"num_hidden_layers": 5, "no_rope_layer_interval": 4},
    "gemma2": {"query_pre_attn_scalar": 16},
    "gemma3": {"query_pre_attn_scalar": 16},
    "gemma3, linear": {"query_pre_attn_scalar": 16},
    "phi": {"num_key_value_heads": 6, "intermediate_size": 192},
    "falcon, 7b": {"num_kv_heads": 1},
    "qwen2_moe, all layers": {},
    "qwen3_moe, all layers": {},
}
"""Cases that llama.cpp's converter takes, with what GGUF has no key for at its fixed value."""


@pytest.mark.skipif(not LLAMA_CPP, reason="REALIZAR_LLAMA_CPP_MODELS names no folder of a llama.cpp source tree")
@pytest.mark.parametrize("name", IN_GGUF)
@pytest.mark.proves("transformers", family="{name}", format="gguf", backend="numpy")
def test_logits_through_llama_cpp_s_converter(name, tmp_path):
    read_gguf = pytest.importorskip("realizar_gguf.reader").read_gguf
    model_type, values = CASES[name]
    model = random_model(model_type, values | IN_GGUF[name])
    model.save_pretrained(tmp_path)
    file = read_gguf(converted(tmp_path))
    assert file.config is not None, file.no_config
    check(model, file.config, file.tensors, "numpy", prompts_of(name))


def converted(folder: Path) -> Path:
    """The checkpoint as a GGUF file without a vocabulary."""
    process = converter()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{folder}\n")
    process.stdin.flush()
    for line in process.stdout:
        if line == "written\n":
            return folder / "model.gguf"
    raise AssertionError(f"llama.cpp's converter ended with {process.wait()}; its standard error says why")


@functools.cache
def converter() -> subprocess.Popen[str]:
    """A process that converts; it ends with the input that this one holds."""
    script, tree = Path(__file__).with_name("llama_cpp_converter.py"), Path(LLAMA_CPP or "").parent
    line = [sys.executable, str(script), str(tree), str(VOCAB_SIZE)]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
