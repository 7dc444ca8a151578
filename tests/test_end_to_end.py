"""A tiny model as a GGUF file and as a Hugging Face directory, through our formats, tokenizer and backends."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from realizar import LLM, SamplingParams, load_tokenizer
from realizar.backend import Bucket
from realizar.engine import Completion, TokenLogprob
from realizar.errors import ModelError
from realizar.testing.models import tiny_model
from realizar_gguf.plugin import realizar_formats

WEIGHTS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q6_K", "IQ4_NL"]
BACKENDS = ["numpy", "numba"]
GREEDY = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
PROMPTS = ["the sea and the", "a", "1 2 3 4 5 6 7 8 9", "naïve 漢字", "the " * 20, "in of to", "...", "ed ing the"]
MESSAGES = [{"role": "user", "content": "Hello, <|im_end|>"}]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weight_type", WEIGHTS)
@pytest.mark.proves("float64", family="llama", format="gguf", type="{weight_type}", backend="{backend}")
def test_weights(write_gguf, weight_type, backend):
    """Greedy tokens are the reference's wherever it is sure by more than the backend's own error."""
    path = write_gguf(weight_type)
    with LLM(path, backend="numpy64") as llm:
        ids = llm.tokenizer.encode(PROMPTS[0])
        wanted = llm.logits(ids)
    with LLM(path, backend=backend) as llm:
        got = llm.logits(ids)
        done = llm.generate(PROMPTS[0], GREEDY)
    assert done.prompt_token_ids == tuple(ids)
    assert done.text == llm.tokenizer.decode(done.token_ids)
    error = np.abs(got - wanted).max()
    nmse = np.square(got - wanted).sum() / np.square(wanted).sum()
    assert nmse < (1e-9 if backend == "numpy" else 3e-3)  # the kit's tolerance for a model with 8-bit activations
    second, first = np.sort(wanted[-1])[-2:]
    if first - second > 2 * error:
        assert done.token_ids[0] == wanted[-1].argmax()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{"tied": False}, {"biased": True}, {"num_key_value_heads": 1}], ids=str)
def test_shapes_of_models(write_gguf, options, backend):
    path = write_gguf("F16", **options)
    ids = list(range(3, 40))
    with LLM(path, backend="numpy64") as llm:
        wanted = llm.logits(ids)
    with LLM(path, backend=backend) as llm:
        np.testing.assert_allclose(llm.logits(ids), wanted, atol=1e-3 if backend == "numpy" else 0.1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_chat(write_gguf, backend):
    with LLM(write_gguf("Q8_0"), backend=backend) as llm:
        done = llm.chat(MESSAGES, GREEDY)
        pieces = list(llm.stream(MESSAGES, GREEDY))
        tokenizer = llm.tokenizer
    assert pieces[-1].completion.token_ids == done.token_ids
    assert "".join(piece.text for piece in pieces) == done.text
    ids = done.prompt_token_ids
    assert [i for i in ids if i < 3] == [1, 2, 1]  # the end token in the message is text
    assert tokenizer.decode(ids, skip_special_tokens=False) == (
        "<|im_start|>user\nHello, <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_command(write_gguf, environ, backend):
    path = write_gguf("Q4_1")
    line = [sys.executable, "-m", "realizar", "run", str(path), "the sea", "--raw", "--temperature", "0"]
    line += ["--max-tokens", "6", "--backend", backend, "--format", "json"]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["prompt_token_ids"] == load_tokenizer(path).encode("the sea")
    with LLM(path, backend=backend) as llm:
        assert result["token_ids"] == list(
            llm.generate("the sea", SamplingParams(temperature=0, max_tokens=6)).token_ids
        )


def test_the_file_holds_the_model(write_gguf):
    model = tiny_model("Q8_0", seed=3)
    gguf, _ = realizar_formats()
    file = gguf.open(write_gguf("Q8_0", seed=3))
    assert file.tensors.keys() == model.tensors.keys()
    for name, tensor in model.tensors.items():
        assert np.array_equal(file.tensors[name].read(), tensor.read()), name
    file.close()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weight_type", ["F32", "F16", "BF16"])
def test_a_directory_is_the_same_model(write_gguf, write_directory, weight_type, backend):
    with LLM(write_gguf(weight_type), backend=backend) as llm:
        ids = llm.tokenizer.encode(PROMPTS[3])
        wanted, answer = llm.logits(ids), llm.chat(MESSAGES, GREEDY)
    with LLM(write_directory(weight_type), backend=backend) as llm:
        assert llm.tokenizer.encode(PROMPTS[3]) == ids
        np.testing.assert_array_equal(llm.logits(ids), wanted)
        assert llm.chat(MESSAGES, GREEDY).token_ids == answer.token_ids


def test_a_tokenizer_that_is_not_understood_is_named(write_directory):
    path = write_directory("F16")
    (path / "tokenizer.json").write_text('{"model": {"type": "Abacus"}}')
    with pytest.raises(ModelError, match="'Abacus'"):
        LLM(path, backend="numpy")
    with pytest.raises(ModelError, match="'Abacus'"):
        load_tokenizer(path)


@pytest.mark.parametrize("weight_type", ["F8_E4M3", "F8_E5M2", "F64"])
def test_types_that_only_directories_have(write_directory, weight_type):
    path = write_directory(weight_type)
    with LLM(path, backend="numpy") as llm:
        wanted = llm.logits(list(range(3, 20)))
    with LLM(path, backend="numba") as llm:
        np.testing.assert_allclose(llm.logits(list(range(3, 20))), wanted, atol=1e-3)


SAMPLED = SamplingParams(temperature=0.9, seed=5, max_tokens=10, logprobs=3)


def bits(llm: LLM) -> list[bytes]:
    """All logits of all prompts."""
    return [llm.logits(llm.tokenizer.encode(prompt)).tobytes() for prompt in PROMPTS]


def chosen(completions: list[Completion]) -> list[list[TokenLogprob]]:
    """Every token with its log probabilities, which are equal only if the logits are."""
    return [list(completion.logprobs or ()) for completion in completions]


@pytest.fixture(scope="module", params=["F16", "Q4_1", "Q8_0", "Q4_K"])
def model_path(request, write_gguf):
    return write_gguf(request.param)


@pytest.fixture(scope="module")
def alone(model_path):
    """Bits and choices of each prompt by itself on one thread."""
    with LLM(model_path, backend="numba", threads=1) as llm:
        return bits(llm), chosen([llm.generate(prompt, SAMPLED) for prompt in PROMPTS])


class TestSameBits:
    """On numba, nothing but the request decides its bits."""

    @pytest.mark.parametrize("threads", [1, 2])
    def test_batch_of_eight(self, model_path, alone, threads):
        with LLM(model_path, backend="numba", threads=threads) as llm:
            assert chosen(llm.generate(PROMPTS, SAMPLED)) == alone[1]

    def test_two_threads(self, model_path, alone):
        with LLM(model_path, backend="numba", threads=2) as llm:
            assert bits(llm) == alone[0]

    @pytest.mark.parametrize("max_tokens", [1, 7, 24])
    def test_chunks(self, model_path, alone, monkeypatch, max_tokens):
        monkeypatch.setattr("realizar.engine.sizes.LIMIT", Bucket(max_tokens, 8, 8))
        with LLM(model_path, backend="numba", threads=2) as llm:
            assert bits(llm) == alone[0]
            assert chosen(llm.generate(PROMPTS, SAMPLED)) == alone[1]


def test_numpy_is_the_same_within_a_thousandth(write_gguf, monkeypatch):
    path = write_gguf("Q4_1")
    with LLM(path, backend="numpy") as llm:
        ids = llm.tokenizer.encode(PROMPTS[4])
        wanted, alone = llm.logits(ids), [llm.generate(prompt, GREEDY).token_ids for prompt in PROMPTS]
        assert [c.token_ids for c in llm.generate(PROMPTS, GREEDY)] == alone
    monkeypatch.setattr("realizar.engine.sizes.LIMIT", Bucket(7, 8, 8))
    with LLM(path, backend="numpy") as llm:
        np.testing.assert_allclose(llm.logits(ids), wanted, atol=1e-3, rtol=0)
        assert [c.token_ids for c in llm.generate(PROMPTS, GREEDY)] == alone
