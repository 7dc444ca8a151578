"""all-MiniLM-L6-v2 as GGUF: the same sentence embeddings as from its directory, here and in llama.cpp.

As in `test_sentence_embeddings`, REALIZAR_MINILM names the directory or the alias minilm stands in; where
REALIZAR_LLAMA_CPP_BIN names a folder with llama.cpp's libraries, it cuts and embeds the sentences too.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from realizar import LLM
from realizar.conversion.convert import convert
from realizar.selection import choose_target, open_model

for plugin in ("torch", "transformers", "realizar_gguf", "realizar_wordpiece"):
    pytest.importorskip(plugin)

HERE = Path(__file__).parent
SOURCE = runpy.run_path(str(HERE / "test_sentence_embeddings.py"))
LLAMA_CPP = runpy.run_path(str(HERE / "llama_cpp_library.py"))
SENTENCES, MIN_COSINE, folder = (SOURCE[name] for name in ("SENTENCES", "MIN_COSINE", "folder"))

IN_LLAMA_CPP = 0.9999
"""Its GELU goes through a table of float16, and is the approximation by tanh; see `test_convert_families`."""

OTHERS_THERE = {"나는 매일 아침 커피를 마신다.", "मौसम अच्छा है", "a" * 101}
"""Sentences that llama.cpp cuts otherwise than transformers: marks in other scripts, and a word that is too long."""


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("minilm") / "minilm.gguf"
    convert(open_model(folder), choose_target(path), path)
    return path


@pytest.fixture(scope="module")
def ours(written: Path) -> tuple[list[list[int]], np.ndarray]:
    with LLM(written, backend="numpy") as llm:
        return [llm.tokenizer.encode(sentence, add_special_tokens=True) for sentence in SENTENCES], llm.embed(SENTENCES)


def test_embeddings_of_the_gguf_file(folder: Path, written: Path, ours: tuple[list[list[int]], np.ndarray]) -> None:
    ids, vectors = ours
    with LLM(folder, backend="numpy") as llm:
        assert ids == [llm.tokenizer.encode(sentence, add_special_tokens=True) for sentence in SENTENCES]
        expected = llm.embed(SENTENCES)
    cosines = (vectors * expected).sum(axis=1)
    print(f"cosines from {cosines.min():.8f}")
    assert cosines.min() >= MIN_COSINE


@pytest.mark.skipif(not LLAMA_CPP["LIBRARY"].is_file(), reason=LLAMA_CPP["MISSING"])
def test_llama_cpp_embeds_with_the_gguf_file(written: Path, ours: tuple[list[list[int]], np.ndarray]) -> None:
    ids, vectors = LLAMA_CPP["embeddings"](written, SENTENCES, ours[1].shape[1])
    others = {text for text, here, there in zip(SENTENCES, ours[0], ids, strict=True) if here != there}
    print(f"cut otherwise: {others}")
    assert others == OTHERS_THERE
    same = [text not in others for text in SENTENCES]
    cosines = (vectors * ours[1]).sum(axis=1)[same] / np.linalg.norm(vectors, axis=1)[same]
    print(f"cosines from {cosines.min():.8f}")
    assert cosines.min() >= IN_LLAMA_CPP
