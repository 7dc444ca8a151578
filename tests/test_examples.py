"""Every example runs, as a reader would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent / "examples"
EXPECTED = {
    "api_server": ["models: ['example']", "answer: ", "'completion_tokens': ", "stream: ''", "trace: "],
    "model_cache": [
        "loaded once for 2 requests",
        "in memory: ['long'] unloaded: {('short', 'room'): 1}",
        "'long': 2",
        "refused: short needs ",
    ],
    "convert_and_bench_apr": [
        "layout numba-1",
        "open and load, s: prepacked ",
        "decode, tokens/s: prepacked ",
        "logits: the same bits",
    ],
    "inference": ["1. The Moon", "stream: ", "first token after ", "batch: 'The sky is"],
    "tokenization": ["49152 tokens; ", "'ïve'", "as control token: [2]", "'👍'"],
    "gguf_loading": [
        "metadata: {'general.architecture': 'example'",
        "packed.weight: (4, 64) Q4_1, 160 bytes",
        "float32",
    ],
    "safetensors_loading": [
        "metadata: {'format': 'pt', 'note': 'a small file'}",
        "eight_bits.weight: (4, 64) F8_E4M3, 256 bytes",
        "2 shards and model.safetensors.index.json",
        "refused: ",
    ],
    "structured_output": ["person: {'name': ", "refused: json_schema: #/properties/tags/uniqueItems", "call: weather"],
}


@pytest.fixture
def run(environ):
    """Runs an example in a process of its own and checks that it says what is expected."""

    def child(name: str, *args: str) -> None:
        line = [sys.executable, str(EXAMPLES / f"{name}.py"), *args]
        environ["PYTHONIOENCODING"] = "utf-8"
        done = subprocess.run(line, env=environ, capture_output=True, encoding="utf-8", timeout=600)
        assert done.returncode == 0, done.stderr
        for part in EXPECTED[name]:
            assert part in done.stdout, done.stdout

    return child


def test_all_examples_are_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


def test_gguf_loading(run):
    run("gguf_loading")


def test_safetensors_loading(run):
    run("safetensors_loading")


@pytest.mark.parametrize("name", ["api_server", "model_cache"])
def test_on_a_tiny_model(run, environ, write_gguf, name):
    environ["REALIZAR_BACKEND"] = "numpy"  # nothing to compile
    run(name, str(write_gguf("F32", seed=1)))


@pytest.mark.model
@pytest.mark.parametrize("name", ["convert_and_bench_apr", "inference", "tokenization", "structured_output"])
def test_on_the_real_model(run, smollm2, name):
    run(name)
