"""Gemma-3-270M in GGUF against a float32 evaluation of the same file by transformers.

`data/gemma3_greedy_f32.json`: the ids of five prompts, 48 greedy ids each, the top-8 logits of the last prompt
position, and how far the best token was ahead of the second at each step. The ids go in as they are, so no tokenizer
takes part; all steps of a case are computed at once, each given the reference's own tokens before it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from realizar.plugins import host
from realizar.selection import build_graph, named, open_model
from realizar.testing.driver import Driver, Logits, Program, one_by_one

pytestmark = pytest.mark.model

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data/gemma3_greedy_f32.json").read_text())

MAX_GAP = {"numpy": 0.01, "numba": 1.0}
"""A difference is forgiven where the best token was ahead by no more: numba's activations have 8 bits."""


@pytest.fixture(scope="module", params=["numpy", "numba"])
def found(request, gemma3) -> tuple[str, list[Logits]]:
    """The backend's name, and logits of every token of each case but the last greedy one."""
    file = open_model(gemma3)
    assert file.config is not None
    prompts = tuple((*case["prompt_ids"], *case["greedy_ids"][:-1]) for case in CASES)
    program = Program(build_graph(file.config, file.tensors), file.tensors, prompts, (True,) * len(prompts))
    backend = named("backend", request.param, host()).contribution()
    try:
        return request.param, Driver(backend, program, kv_type="F32").run(one_by_one(prompts))
    finally:
        backend.close()


@pytest.mark.proves("transformers", family="gemma3", format="gguf", backend="{found}")
def test_greedy(found):
    backend, logits = found
    agreeing = 0
    for case, rows in zip(CASES, logits, strict=True):
        best = rows[len(case["prompt_ids"]) - 1 :].argmax(axis=-1)
        for i, (got, wanted, gap) in enumerate(zip(best, case["greedy_ids"], case["top1_gap"], strict=True)):
            agreeing += int(got == wanted)
            assert got == wanted or gap <= MAX_GAP[backend], (
                f"{case['prompt']!r}, token {i}: {got}, not {wanted}: {gap}"
            )
    print(f"{backend}: {agreeing} of {sum(len(case['greedy_ids']) for case in CASES)} tokens agree")
    assert agreeing >= 200


def test_last_logits(found):
    backend, logits = found
    worst = max(
        abs(float(rows[len(case["prompt_ids"]) - 1, token_id]) - logit)
        for case, rows in zip(CASES, logits, strict=True)
        for token_id, logit in case["last_logits_top8"]
    )
    print(f"{backend}: top-8 logits within {worst:.5f}")
    assert worst <= {"numpy": 0.005, "numba": 2.0}[backend]
