"""Ids and texts against Hugging Face `tokenizers`, with the same vocabulary, merges and rules of cutting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from realizar.model import CONTROL, NORMAL, USER_DEFINED, TokenizerSpec

hf = pytest.importorskip("tokenizers")
pytest.importorskip("realizar_bpe")

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers  # noqa: E402

from realizar_bpe.tokenizer import BpeTokenizer  # noqa: E402

EXAMPLES = 2000
CORPUS = sorted(Path(__file__).parents[2].glob("core/src/realizar/**/*.py"))
OTHER_SCRIPTS = (
    "Ελληνικά русский язык 日本語のテキスト 한국어 العربية हिन्दी ไทย naïve façade 😀😀🎉 ½ ² ٣٤ \r\n\t\u00a0\u3000"
)
ADDED = {"<s>": CONTROL, "</s>": CONTROL, "<tool>": USER_DEFINED, "<tool>>": USER_DEFINED, "    ": USER_DEFINED}


def isolated(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPELLING = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2_AND_SPELLING = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
DEFAULT = [isolated(rule) for rule in (r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")]
RULES = {
    "default": [*DEFAULT, SPELLING],
    "gpt-2": [GPT2_AND_SPELLING],
    "llama-bpe": [isolated(LLAMA3), SPELLING],
    "qwen2": [isolated(LLAMA3.replace("{1,3}", "")), SPELLING],
    "smollm": [pre_tokenizers.Digits(individual_digits=True), GPT2_AND_SPELLING],
}
"""`default` and `smollm` as llama.cpp and SmolLM2's tokenizer.json state them, the others as their tokenizer.json."""


@pytest.fixture(scope="module")
def learnt() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges that `tokenizers` learns from this repository's source and a line of other scripts."""
    trained = hf.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator([*(path.read_text("utf-8") for path in CORPUS), OTHER_SCRIPTS * 20], trainer)
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


@pytest.fixture(scope="module", params=RULES)
def both(request: pytest.FixtureRequest, learnt: tuple[dict[str, int], list[tuple[str, str]]]) -> tuple[Any, Any]:
    vocab, merges = learnt
    theirs = hf.Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=request.param == "llama-bpe"))
    theirs.pre_tokenizer = pre_tokenizers.Sequence(RULES[request.param])
    theirs.decoder = decoders.ByteLevel()
    theirs.add_tokens([AddedToken(text, normalized=False, special=kind == CONTROL) for text, kind in ADDED.items()])
    tokens = [theirs.id_to_token(i) for i in range(theirs.get_vocab_size())]
    spec = TokenizerSpec(
        model="bpe",
        source="learnt",
        pre=request.param,
        tokens=tokens,
        token_types=[ADDED.get(piece, NORMAL) for piece in tokens],
        merges=[" ".join(merge) for merge in merges],
    )
    return BpeTokenizer(spec), theirs


def assigned_characters() -> str:
    """Characters that the oracle's Unicode tables know; newer ones may be letters to one library only."""
    everything = "".join(chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    unassigned = Regex(r"\p{Cn}")
    return "".join(text for text, _ in pre_tokenizers.Split(unassigned, "removed").pre_tokenize_str(everything))


FRAGMENTS = [
    *("'s", "'LL", "'ſ", " ", "  ", "    ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "1", "234", "٣", "½", "e\u0301"),
    *("the", " def", "return", "日本", " русский", "!", "...", "<", "<s>", "</s>", "<tool>", "<tool>>", "_", "{}"),
]
texts = st.lists(
    st.sampled_from(FRAGMENTS) | st.sampled_from(assigned_characters()) | st.text(st.characters(codec="ascii"))
).map("".join)


@pytest.mark.proves("tokenizers", tokenizer="bpe", vocabulary="specification")
def test_ids_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(texts)
    def check(text: str) -> None:
        assert ours.encode(text, parse_special=True) == theirs.encode(text, add_special_tokens=False).ids

    check()


def test_texts_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    ids = st.lists(st.integers(0, len(ours.spec.tokens) - 1) | st.integers(0, 260), max_size=30)

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(ids, st.booleans())
    def check(ids: list[int], skip: bool) -> None:
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)

    check()


def test_source_files_are_the_same(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    sources = [path.read_text("utf-8") for path in CORPUS]
    assert sources
    for text in sources:
        assert ours.encode(text, parse_special=True) == theirs.encode(text, add_special_tokens=False).ids
