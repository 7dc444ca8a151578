"""Every token of every case on both backends: how many agree with transformers in float32.

Run with `-s` to see the counts. The rule and the data are those of `tests/test_smollm2.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from realizar import LLM, SamplingParams
from realizar.errors import StoreError
from realizar.store import resolve

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data/smollm2_greedy_f32.json").read_text())

pytestmark = pytest.mark.model


@pytest.mark.parametrize(("backend", "max_gap", "at_least"), [("numpy", 0.01, 150), ("numba", 1.0, 20)])
@pytest.mark.proves("transformers", family="llama", format="gguf", type="Q4_1", backend="{backend}")
def test_greedy(backend, max_gap, at_least, capsys):
    """A first difference is forgiven where the best token was ahead by no more than `max_gap`."""
    try:
        path = resolve("smollm2", allow_download=True)
    except StoreError as error:
        pytest.skip(f"SmolLM2 cannot be had here: {error}")
    with LLM(path, backend=backend, max_model_len=512) as llm:
        streams = [
            llm.stream(c.get("prompt") or c["messages"], SamplingParams(temperature=0, max_tokens=48)) for c in CASES
        ]
        answers = [stream.completion() for stream in streams]
    lines, total = [], 0
    for case, done in zip(CASES, answers, strict=True):
        assert list(done.prompt_token_ids) == case["prompt_ids"]
        wanted = case["greedy_ids"]
        pairs = list(zip(done.token_ids, wanted, strict=False))
        first = next((i for i, (got, expected) in enumerate(pairs) if got != expected), None)
        if first is not None:
            assert case["top1_gap"][first] <= max_gap, f"token {first} of {done.text!r}"
        else:
            assert len(done.token_ids) == len(wanted)
        count = len(wanted) if first is None else first
        total += count
        note = "" if first is None else f", then a gap of {case['top1_gap'][first]}"
        lines.append(f"  {count:2} of {len(wanted)}{note}")
    with capsys.disabled():
        print(f"\n{backend}: {total} of {sum(len(c['greedy_ids']) for c in CASES)} tokens compared", *lines, sep="\n")
    assert total >= at_least
