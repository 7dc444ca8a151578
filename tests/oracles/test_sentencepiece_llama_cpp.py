"""llama.cpp's own vectors for vocabularies of scored pieces; see `test_bpe_llama_cpp.py`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from realizar.tokenizers import Tokenizer

read_gguf = pytest.importorskip("realizar_gguf.reader").read_gguf
SentencePieceTokenizer = pytest.importorskip("realizar_sentencepiece.tokenizer").SentencePieceTokenizer

SEPARATOR = "\n__ggml_vocab_test__\n"
VOCABULARIES = ("llama-spm", "phi-3", "gemma-4")


@pytest.fixture(scope="module", params=VOCABULARIES)
def vectors(request: pytest.FixtureRequest) -> tuple[Tokenizer, list[tuple[str, list[int]]]]:
    models = os.environ.get("REALIZAR_LLAMA_CPP_MODELS")
    path = Path(models or "") / f"ggml-vocab-{request.param}.gguf"
    if models is None or not path.exists():
        pytest.skip(f"{path.name}: REALIZAR_LLAMA_CPP_MODELS names no folder that has it")
    texts = path.with_name(f"{path.name}.inp").read_bytes().decode().split(SEPARATOR)
    lines = path.with_name(f"{path.name}.out").read_text().split("\n")[: len(texts)]
    ids = [[int(token_id) for token_id in line.split()] for line in lines]
    return SentencePieceTokenizer(read_gguf(path).tokenizer), list(zip(texts, ids, strict=True))


@pytest.mark.proves("llama.cpp", tokenizer="spm", vocabulary="gguf")
def test_ids_equal_llama_cpp(vectors: tuple[Tokenizer, list[tuple[str, list[int]]]]) -> None:
    tokenizer, cases = vectors
    assert len(cases) > 40
    assert {text: tokenizer.encode(text, add_special_tokens=False) for text, _ in cases} == dict(cases)


def test_decoding_the_ids_gives_the_texts(vectors: tuple[Tokenizer, list[tuple[str, list[int]]]]) -> None:
    tokenizer, cases = vectors
    assert [tokenizer.decode(ids) for _, ids in cases] == [text for text, _ in cases]
