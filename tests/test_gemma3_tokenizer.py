"""The tokenizer in the real Gemma 3 file against the ids that transformers gives: `data/gemma3_greedy_f32.json`.

And against itself, written as tokenizer.model.
"""

from __future__ import annotations

import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from realizar import load_tokenizer
from realizar.huggingface.tokenizer import read_tokenizer
from realizar.huggingface.tokenizer_writer import tokenizer_settings
from realizar.selection import build_tokenizer
from realizar.tokenizer_files.sentencepiece_model import write_sentencepiece_model
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


@pytest.fixture(scope="module")
def converted(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The same vocabulary written as tokenizer.model, as converting to a Hugging Face directory does, and read back."""
    folder = tmp_path_factory.mktemp("converted")
    (folder / "tokenizer.model").write_bytes(write_sentencepiece_model(tokenizer.spec))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_settings(tokenizer.spec)), encoding="utf-8")
    spec = read_tokenizer(folder, {}, {})
    assert spec is not None and spec.source.endswith("tokenizer.model")
    return build_tokenizer(spec)


FRAGMENTS = [
    *(" ", "  ", "     ", "\n", "\n\n\n", "\t", "\t\t", "\u00a0", "\u3000", "▁", "the", " The", "1234", "é", "e\u0301"),
    *("<bos>", "<eos>", "<unk>", "<start_of_turn>", "<unused7>", "<h1>", "<0x41>", "日本語", " русский", "😀", "\0"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=6)).map("".join)


def test_tokenizer_model_gives_the_ids_of_the_gguf(tokenizer: Tokenizer, converted: Tokenizer) -> None:
    @settings(max_examples=500, deadline=None)
    @given(texts, st.booleans(), st.booleans())
    def check(text: str, add: bool, parse: bool) -> None:
        ids = tokenizer.encode(text, add_special_tokens=add, parse_special=parse)
        assert converted.encode(text, add_special_tokens=add, parse_special=parse) == ids
        assert converted.decode(ids) == tokenizer.decode(ids)

    check()
    for name in ("bos_token_id", "eos_token_ids", "unk_token_id", "pad_token_id", "add_bos_token", "add_eos_token"):
        assert getattr(converted.spec, name) == getattr(tokenizer.spec, name), name
