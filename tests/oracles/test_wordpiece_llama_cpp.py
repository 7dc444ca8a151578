"""llama.cpp's WordPiece vectors, as in `test_bpe_llama_cpp`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

read_gguf = pytest.importorskip("realizar_gguf.reader").read_gguf
WordPieceTokenizer = pytest.importorskip("realizar_wordpiece.tokenizer").WordPieceTokenizer

SEPARATOR = "\n__ggml_vocab_test__\n"


@pytest.mark.proves("llama.cpp", tokenizer="wordpiece", vocabulary="gguf")
def test_ids_equal_llama_cpp():
    models = os.environ.get("REALIZAR_LLAMA_CPP_MODELS")
    path = Path(models or "") / "ggml-vocab-bert-bge.gguf"
    if models is None or not path.exists():
        pytest.skip(f"{path.name}: REALIZAR_LLAMA_CPP_MODELS names no folder that has it")
    texts = path.with_name(f"{path.name}.inp").read_bytes().decode().split(SEPARATOR)
    lines = path.with_name(f"{path.name}.out").read_text().split("\n")[: len(texts)]
    expected = [[int(token_id) for token_id in line.split()] for line in lines]
    tokenizer = WordPieceTokenizer(read_gguf(path).tokenizer)
    assert len(texts) > 40
    assert [tokenizer.encode(text, add_special_tokens=False) for text in texts] == expected
    assert tokenizer.encode("a", add_special_tokens=True) == [101, 1037, 102]
