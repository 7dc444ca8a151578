"""The real model on both backends against a float32 evaluation of the same file by transformers.

`data/smollm2_greedy_f32.json`: greedy ids, the top-8 logits of the last prompt position, and how far the best token
was ahead of the second at each step. All tokens of all cases on numpy: `oracles/test_smollm2_full.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realizar import LLM, Completion, SamplingParams
from realizar.backend import Bucket

pytestmark = pytest.mark.model

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data/smollm2_greedy_f32.json").read_text())
TEXTS = [case for case in CASES if "prompt" in case]
CHATS = [case for case in CASES if "messages" in case]
TOKENS = {"numpy": 8, "numba": 48}
"""How many tokens of each case are compared here; the NumPy reference takes its time."""

MAX_GAP = {"numpy": 0.01, "numba": 1.0}
"""A first difference is forgiven where the best token was ahead by no more: numba's activations have 8 bits."""


def compared(case: dict[str, Any], done: Completion, max_gap: float) -> int:
    """How many tokens agree until a forgiven difference; fails at any other."""
    assert list(done.prompt_token_ids) == case["prompt_ids"]
    for i, (got, wanted, gap) in enumerate(zip(done.token_ids, case["greedy_ids"], case["top1_gap"], strict=False)):
        if got != wanted:
            assert gap <= max_gap, f"token {i}: {got}, expected {wanted}, which was ahead by {gap}"
            return i
    return min(len(done.token_ids), len(case["greedy_ids"]))


@pytest.fixture(scope="module", params=["numpy", "numba"])
def llm(request, smollm2) -> Iterator[LLM]:
    with LLM(smollm2, backend=request.param, max_model_len=2048) as llm:
        yield llm


@pytest.mark.proves("transformers", family="llama", format="gguf", type="Q4_1", backend="{llm}")
def test_greedy(llm):
    params = SamplingParams(temperature=0, max_tokens=TOKENS[llm.backend_name])
    answers = llm.generate([case["prompt"] for case in TEXTS], params)
    counts = [compared(case, done, MAX_GAP[llm.backend_name]) for case, done in zip(TEXTS, answers, strict=True)]
    print(f"{llm.backend_name}: {sum(counts)} tokens agree: {counts}")
    assert sum(counts) >= 20


def test_text(llm):
    done = llm.generate("The capital of France is", SamplingParams(temperature=0, max_tokens=4))
    assert done.text == " Paris.\n\n"


@pytest.mark.parametrize("case", CHATS, ids=lambda case: case["messages"][-1]["content"])
def test_chat(llm, case):
    done = llm.chat(case["messages"], SamplingParams(temperature=0, max_tokens=TOKENS[llm.backend_name]))
    count = compared(case, done, MAX_GAP[llm.backend_name])
    print(f"{llm.backend_name}: {count} tokens agree")
    assert count or case["top1_gap"][0] <= MAX_GAP[llm.backend_name]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_last_logits(llm, case):
    last = llm.logits(case["prompt_ids"])[-1]
    worst = max(abs(last[token_id] - logit) for token_id, logit in case["last_logits_top8"])
    assert worst <= {"numpy": 0.005, "numba": 2.0}[llm.backend_name]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_command(smollm2, environ, backend):
    line = [sys.executable, "-m", "realizar", "run", "smollm2", "The capital of France is", "--raw"]
    line += ["--temperature", "0", "--max-tokens", "12", "--backend", backend]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(" Paris.\n\nThe ")


class TestSameBits:
    """On numba: alone or in a batch of 8, one thread or two, whole or chunked, the same ids and logits bits."""

    PROMPTS = [*(case["prompt"] for case in TEXTS), "Water", "In 1969", "x = [1, 2,", "Dear Sir or Madam,"]
    PARAMS = SamplingParams(temperature=0, max_tokens=10, logprobs=5)

    @classmethod
    def answers(cls, completions: list[Completion]) -> list[Any]:
        """Ids and log probabilities, which are equal only if the logits are."""
        return [(done.token_ids, done.logprobs) for done in completions]

    @classmethod
    def logits(cls, llm: LLM) -> list[bytes]:
        return [llm.logits(case["prompt_ids"]).tobytes() for case in CASES]

    def test_batch_threads_and_chunks(self, smollm2, monkeypatch):
        assert len(self.PROMPTS) == 8
        with LLM(smollm2, backend="numba", threads=1, max_model_len=512) as llm:
            alone, logits = self.answers([llm.generate(p, self.PARAMS) for p in self.PROMPTS]), self.logits(llm)
            assert self.answers(llm.generate(self.PROMPTS, self.PARAMS)) == alone
        with LLM(smollm2, backend="numba", threads=2, max_model_len=512) as llm:
            assert self.answers(llm.generate(self.PROMPTS, self.PARAMS)) == alone
            assert self.answers([llm.generate(p, self.PARAMS) for p in self.PROMPTS]) == alone
            assert self.logits(llm) == logits
        monkeypatch.setattr("realizar.engine.sizes.LIMIT", Bucket(max_tokens=5, max_seqs=8, max_rows=8))
        with LLM(smollm2, backend="numba", threads=2, max_model_len=512) as llm:
            assert self.logits(llm) == logits
            assert self.answers(llm.generate(self.PROMPTS, self.PARAMS)) == alone


def test_numpy_is_the_same_within_a_thousandth(smollm2, monkeypatch):
    """BLAS sums in an order that depends on how much is computed at once."""
    case = CHATS[0]
    ids = case["prompt_ids"]
    with LLM(smollm2, backend="numpy", max_model_len=512) as llm:
        whole = llm.logits(ids)
    monkeypatch.setattr("realizar.engine.sizes.LIMIT", Bucket(max_tokens=16, max_seqs=8, max_rows=16))
    with LLM(smollm2, backend="numpy", max_model_len=512) as llm:
        np.testing.assert_allclose(llm.logits(ids), whole, atol=1e-3, rtol=0)
        done = llm.chat(case["messages"], SamplingParams(temperature=0, max_tokens=3))
    assert compared(case, done, MAX_GAP["numpy"]) == 3
