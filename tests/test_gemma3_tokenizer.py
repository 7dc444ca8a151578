"""The tokenizer in the real Gemma 3 file against the ids that transformers gives: `data/gemma3_greedy_f32.json`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realizar import load_tokenizer
from realizar.tokenizers import Tokenizer

pytestmark = pytest.mark.model

CASES = json.loads((Path(__file__).parent / "data/gemma3_greedy_f32.json").read_text())


@pytest.fixture(scope="module")
def tokenizer(gemma3: Path) -> Tokenizer:
    return load_tokenizer(gemma3)


@pytest.mark.proves("transformers", tokenizer="spm", vocabulary="gguf")
def test_prompts_become_their_ids(tokenizer: Tokenizer) -> None:
    for case in CASES:
        assert tokenizer.encode(case["prompt"]) == case["prompt_ids"]


def test_ids_become_their_text(tokenizer: Tokenizer) -> None:
    for case in CASES:
        assert tokenizer.decode(case["greedy_ids"]) == case["greedy_text"]
