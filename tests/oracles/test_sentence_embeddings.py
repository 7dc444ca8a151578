"""Sentence embeddings of all-MiniLM-L6-v2 against transformers: 50 sentences in many scripts.

REALIZAR_MINILM names the directory; otherwise the alias minilm, where it is known and can be had.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from realizar import LLM
from realizar.errors import StoreError
from realizar.plugins import host
from realizar.store import resolve

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MIN_COSINE = 0.9999

SENTENCES = [
    "The sea is blue.",
    "The ocean has the colour of the sky.",
    "My cat sleeps all day.",
    "A cat is sleeping again!",
    "Interest rates rose by 0.25 percentage points on 3 May 2023.",
    "How do I boil an egg?",
    "HOW DO I BOIL AN EGG",
    "don't, won't, can't — shouldn't've",
    "E = mc² and a² + b² = c²",
    "x",
    "",
    "   ",
    "?!",
    "...",
    "#hashtag @name",
    "https://example.org/a/b?c=d&e=f",
    "user@example.org wrote: «hello»",
    "def f(x):\n    return x + 1\n",
    "1234567890",
    "Naïve café façade, crème brûlée, Zürich",
    "Ångström Øresund smörgåsbord",
    "İstanbul'da IŞIK var",
    "ﬁne ﬂow Ǆ",
    "海是蓝色的。",
    "我的猫整天睡觉。",
    "今天天气很好,我们去公园吧!",
    "如何煮鸡蛋?",
    "機械学習と自然言語処理",
    "漢字かなカナ混じり文",
    "나는 매일 아침 커피를 마신다.",
    "Кошка спит весь день.",
    "Η θάλασσα είναι γαλάζια. ΟΔΟΣ",
    "الطقس جميل اليوم",
    "שלום עולם",
    "मौसम अच्छा है",
    "วันนี้อากาศดี",
    "Việt Nam có nhiều món ăn ngon",
    "😀",
    "😀 I love this! 🎉🎉",
    "👩\u200d👩\u200d👧\u200d👦 🇩🇪 👍🏽",
    "mixed 中文 and English with emoji 🚀",
    "tabs\tand\u00a0spaces\u3000everywhere",
    "zero\u200bwidth and \ufeffmarks",
    "antidisestablishmentarianism",
    "a" * 99,
    "a" * 101,
    "word " * 120,
    "The quick brown fox jumps over the lazy dog. " * 20,
    "今天" * 100,
    "(CLS) is spelled here, and so is [ SEP ]",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    named = os.environ.get("REALIZAR_MINILM")
    if named:
        return Path(named)
    try:
        return Path(resolve("minilm", allow_download=True))
    except StoreError as error:
        pytest.skip(f"REALIZAR_MINILM names no directory, and the alias minilm: {error}")


@pytest.fixture(scope="module")
def expected(folder: Path) -> np.ndarray:
    """Means of the last hidden states of each sentence alone, made to have length 1."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    model = transformers.AutoModel.from_pretrained(folder).float().eval()
    vectors = []
    for sentence in SENTENCES:
        with torch.no_grad():
            states = model(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0].double()
        vectors.append(torch.nn.functional.normalize(states.mean(dim=0), dim=0).numpy())
    return np.array(vectors)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.proves("transformers", family="bert", format="safetensors", backend="{backend}")
def test_cosines(backend: str, folder: Path, expected: np.ndarray) -> None:
    if backend not in {record.name for record in host().contributions("backend")}:
        pytest.skip(f"backend {backend} is not installed")
    assert len(SENTENCES) == 50
    with LLM(folder, backend=backend) as llm:
        found = llm.embed(SENTENCES)
        alone = np.concatenate([llm.embed([sentence]) for sentence in SENTENCES[::7]])
    cosines = (found * expected).sum(axis=1) / np.linalg.norm(found, axis=1)
    print(f"{backend}: cosines from {cosines.min():.8f}; largest difference {np.abs(found - expected).max():.1e}")
    assert cosines.min() >= MIN_COSINE
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(alone, found[::7], atol=1e-6)
    assert np.abs(np.corrcoef(expected) - np.eye(50)).mean() < 0.5  # what is compared are vectors that differ
