"""The benchmark suites run, on tiny sizes; and the random model is one that can be timed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from realizar import LLM
from realizar.selection import open_model

BENCHMARKS = Path(__file__).parent / "benchmarks"
SUITES = {
    "tensor_ops": ["## Linear layers on ", "| Q4_K | "],
    "inference": ["## Lengths", "| tg2 x16 | ", "| pp8 @ d64 | "],
    "cache": ["## Decode with a cache of ", "| tg4 @ d64 | ", "| 256 | "],
    "serving": ["## 2 streams, medians of 1 rounds", "| realizar | ", " | 0 |"],
    "soak": ["## Soak of 0.05 minutes", "| wrong answers | 0 |", "| blocks, sequences left | (0, 0) |"],
    "tokenizer": ["## Tokenizer", "| many scripts | ", " MB of mixed text", "| lines that differ |"],
}
SHARED = {"make_random_1b", "random_blocks", "suite", "timing", "tokenizer_peers"}
WITH_A_REAL_MODEL = {"structured_share"}
NEEDS_GPU = {"cuda_steps"}


@pytest.fixture
def run(environ):
    """Runs a script in a process of its own; its standard output."""

    def child(name: str, *args: object) -> str:
        line = [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, args)]
        environ["PYTHONIOENCODING"] = "utf-8"
        done = subprocess.run(line, env=environ, capture_output=True, encoding="utf-8", timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return child


def test_all_suites_are_tested():
    others = NEEDS_GPU | SHARED | WITH_A_REAL_MODEL
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == set(SUITES) | others


@pytest.mark.parametrize("name", SUITES)
def test_a_suite(run, name):
    printed = run(name, "--quick")
    for part in SUITES[name]:
        assert part in printed, printed


@pytest.mark.parametrize("name", sorted(NEEDS_GPU))
def test_a_suite_that_needs_a_gpu(environ, name):
    line = [sys.executable, str(BENCHMARKS / f"{name}.py"), "1b-q4_k"]
    done = subprocess.run(line, env=environ | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "cannot run here" in done.stderr


@pytest.fixture
def random_model(run, tmp_path) -> Path:
    path = tmp_path / "random.gguf"
    assert f"{path}: 1." in run("make_random_1b", path, "--hidden", 256, "--layers", 2, "--vocabulary", 1000)
    return path


def test_the_random_model_has_the_shape_of_llama(random_model):
    file = open_model(random_model)
    config = file.config
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (4, 1, 64)
    assert (config.intermediate_size, config.vocab_size, config.rope_theta) == (1024, 1000, 500000)
    types = {tensor.dtype.name for name, tensor in file.tensors.items() if "_proj" in name}
    assert (types, file.tensors["model.embed_tokens.weight"].dtype.name) == ({"Q4_K"}, "Q6_K")
    assert "lm_head.weight" not in file.tensors
    file.close()


def test_its_weights_are_centred_and_of_a_trained_size(random_model):
    file = open_model(random_model)
    matrices = {name: tensor for name, tensor in file.tensors.items() if len(tensor.shape) == 2}
    for name, tensor in matrices.items():
        weights = tensor.to_float32().astype(np.float64)
        deviation = weights.shape[1] ** -0.5
        assert weights.std() == pytest.approx(deviation, rel=0.1), name
        assert abs(weights.mean()) < 0.05 * deviation, name
        assert (weights != 0).mean() > 0.9, name
    assert len({tensor.read().tobytes() for tensor in matrices.values()}) == len(matrices)
    file.close()


def test_it_runs(random_model):
    with LLM(random_model, max_model_len=64) as llm:
        logits = llm.logits(llm.tokenizer.encode("The random model speaks."))
        assert np.isfinite(logits).all()
        assert 0.3 < logits.std() < 3
