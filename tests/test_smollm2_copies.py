"""F16 and BF16 copies of SmolLM2 against what transformers makes of the file itself in float32; see `test_smollm2`.

All steps of a case are computed at once, each given the reference's own tokens before it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realizar.conversion.convert import convert
from realizar.plugins import host
from realizar.selection import build_graph, choose_target, named, open_model
from realizar.testing.driver import Driver, Program, one_by_one

pytestmark = pytest.mark.model

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data/smollm2_greedy_f32.json").read_text())
TOKENS = 16
"""How many tokens of each case are compared; the NumPy reference takes its time."""

MAX_ERROR = {"F16": 0.02, "BF16": 0.1}
"""Of the largest logits of the last prompt position."""

MAX_GAP = {"F16": 0.01, "BF16": 0.1}
"""A difference is forgiven where the best token was ahead by no more.

BF16 rounds weights to 8 bits: logits move by up to 0.05, so that one token can gain 0.1 on another.
"""


@pytest.mark.parametrize("dtype", MAX_GAP)
@pytest.mark.proves("transformers", family="llama", format="gguf", type="{dtype}", backend="numpy")
def test_greedy(dtype, smollm2, tmp_path):
    path = tmp_path / f"{dtype}.gguf"
    convert(open_model(smollm2), choose_target(path), path, dtype)
    file = open_model(path)
    assert file.config is not None
    assert {tensor.dtype.name for tensor in file.tensors.values() if len(tensor.shape) > 1} == {dtype}
    prompts = tuple((*case["prompt_ids"], *case["greedy_ids"][: TOKENS - 1]) for case in CASES)
    program = Program(build_graph(file.config, file.tensors), file.tensors, prompts, (True,) * len(prompts))
    with contextlib.closing(named("backend", "numpy", host()).contribution()) as backend:
        logits = Driver(backend, program, kv_type="F32").run(one_by_one(prompts))
    agreeing, worst = 0, 0.0
    for case, rows in zip(CASES, logits, strict=True):
        greedy = rows[len(case["prompt_ids"]) - 1 :]
        worst = max(worst, *(abs(float(greedy[0, i]) - logit) for i, logit in case["last_logits_top8"]))
        for i, got in enumerate(np.argmax(greedy, axis=-1)):
            wanted, gap = case["greedy_ids"][i], case["top1_gap"][i]
            agreeing += int(got == wanted)
            assert got == wanted or gap <= MAX_GAP[dtype], f"token {i}: {got}, not {wanted}, ahead by {gap}"
    print(f"{dtype}: {agreeing} of {TOKENS * len(CASES)} tokens agree; logits are off by up to {worst:.3f}")
    assert agreeing >= TOKENS * len(CASES) - 2
    assert worst <= MAX_ERROR[dtype]
