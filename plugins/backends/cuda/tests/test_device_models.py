"""Device tests of whole models: small random ones of many kinds against NumPy in float64, real ones against references.

Real files come from the folder that REALIZAR_MODELS names (smollm2.gguf, gemma3.gguf); without them those are skipped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from realizar import LLM, SamplingParams
from realizar.architectures.llama import Llama
from realizar.reference import Numpy64Backend
from realizar.selection import build_graph, open_model
from realizar.testing.driver import Driver, Program, one_by_one
from realizar.testing.models import tiny_model
from realizar_cuda.backend import CudaBackend

AVAILABLE = CudaBackend.probe()
pytestmark = pytest.mark.skipif(not AVAILABLE.score, reason=f"device test: {AVAILABLE.detail}")

DATA = Path(__file__).parents[4] / "tests/data"
MAX_GAP = 1.0
"""A first difference is forgiven where the best token was ahead by no more: activations have 8 bits."""


def model_path(name: str) -> Path:
    path = Path(os.environ.get("REALIZAR_MODELS", "")) / name
    if "REALIZAR_MODELS" not in os.environ or not path.exists():
        pytest.skip(f"device test: {name} is not in the folder that REALIZAR_MODELS names")
    return path


def rows_of(backend, program, schedule, kv_type=None):
    try:
        return np.concatenate(Driver(backend, program, kv_type=kv_type).run(schedule))
    finally:
        backend.close()


@pytest.mark.parametrize("heads", [(4, 4, 32), (6, 2, 64), (8, 1, 128), (4, 2, 256)], ids=str)
def test_long_context(heads):
    """Decoding at 700 positions, so that spans are split and merged, replayed as a graph."""
    num_heads, num_key_value_heads, head_dim = heads
    model = tiny_model(
        hidden_size=64, num_attention_heads=num_heads, num_key_value_heads=num_key_value_heads, head_dim=head_dim,
        max_position_embeddings=1024,
    )  # fmt: skip
    prompt = tuple(np.random.default_rng(5).integers(0, 300, 700).tolist())
    program = Program(Llama().build(model.config, model.tensors), model.tensors, (prompt,), (True,))
    schedule = (((0, 600),), ((0, 80),), *(((0, 1),) for _ in range(20)))
    expected = rows_of(Numpy64Backend(), program, schedule)
    for kv_type, allowed in (("F32", 1e-8), ("F16", 1e-5), ("Q8_0", 5e-3)):
        found = rows_of(CudaBackend(), program, schedule, kv_type)
        error = np.mean(np.square(found - expected)) / np.mean(np.square(expected))
        assert error <= allowed, f"{kv_type}: NMSE {error:.3g}"


def reference(name: str) -> list[dict]:
    return json.loads((DATA / name).read_text())


def test_smollm2_greedy():
    cases = reference("smollm2_greedy_f32.json")
    agreeing = total = 0
    with LLM(model_path("smollm2.gguf"), backend="cuda", max_model_len=2048) as llm:
        for case in cases:
            done = llm.generate(case["prompt_ids"], SamplingParams(temperature=0, max_tokens=48, ignore_eos=True))
            for got, wanted, gap in zip(done.token_ids, case["greedy_ids"], case["top1_gap"], strict=False):
                total += 1
                if got != wanted:
                    assert gap <= MAX_GAP, f"{case['prompt_ids']}: {got}, expected {wanted}, ahead by {gap}"
                    break
                agreeing += 1
        worst = max(
            abs(llm.logits(case["prompt_ids"])[-1][i] - logit)
            for case in cases
            for i, logit in case["last_logits_top8"]
        )
    print(f"smollm2: {agreeing} tokens agree up to a forgiven difference; worst top-8 logit off by {worst:.3f}")
    assert agreeing >= 100 and worst <= 2.0


def test_smollm2_batched_is_as_alone():
    """The bits of a sequence do not change from one step of a bucket to its repetition."""
    prompts = [case["prompt_ids"] for case in reference("smollm2_greedy_f32.json")][:5]
    params = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
    with LLM(model_path("smollm2.gguf"), backend="cuda", max_model_len=2048) as llm:
        together = [tuple(done.token_ids) for done in llm.generate(prompts, params)]
        again = [tuple(done.token_ids) for done in llm.generate(prompts, params)]
    assert together == again


def test_gemma3_greedy():
    cases = reference("gemma3_greedy_f32.json")
    file = open_model(model_path("gemma3.gguf"))
    prompts = tuple((*case["prompt_ids"], *case["greedy_ids"][:-1]) for case in cases)
    program = Program(build_graph(file.config, file.tensors), file.tensors, prompts, (True,) * len(prompts))
    backend = CudaBackend()
    try:
        logits = Driver(backend, program).run(one_by_one(prompts))
    finally:
        backend.close()
    agreeing = 0
    for case, rows in zip(cases, logits, strict=True):
        best = rows[len(case["prompt_ids"]) - 1 :].argmax(axis=-1)
        for i, (got, wanted, gap) in enumerate(zip(best, case["greedy_ids"], case["top1_gap"], strict=True)):
            agreeing += int(got == wanted)
            assert got == wanted or gap <= MAX_GAP, f"{case['prompt']!r}, token {i}: {got}, not {wanted}: {gap}"
    print(f"gemma3: {agreeing} of {sum(len(case['greedy_ids']) for case in cases)} tokens agree")
    assert agreeing >= 200
