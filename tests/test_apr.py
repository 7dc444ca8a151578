"""The real model as an APR file: the same tensors, configuration and tokenizer, and the same text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest

from realizar import LLM, SamplingParams
from realizar.model import ModelFile
from realizar.selection import open_model
from realizar_apr.format import APR

pytestmark = pytest.mark.model

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def apr(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2's GGUF file, written as APR."""
    path = tmp_path_factory.mktemp("apr") / "smollm2.apr"
    with contextlib.closing(open_model(smollm2)) as model:
        APR().write(path, model)
    return path


@pytest.fixture
def files(smollm2: Path, apr: Path) -> Iterator[tuple[ModelFile, ModelFile]]:
    with contextlib.closing(open_model(smollm2)) as first, contextlib.closing(open_model(apr)) as second:
        assert (first.format, second.format) == ("gguf", "apr")
        yield first, second


def test_tensors(files):
    first, second = files
    assert set(first.tensors) == set(second.tensors)
    assert {tensor.dtype.name for tensor in second.tensors.values()} >= {"Q4_1", "F32"}
    for name, tensor in first.tensors.items():
        found = second.tensors[name]
        assert (found.shape, found.dtype) == (tensor.shape, tensor.dtype)
        assert np.array_equal(found.read(), tensor.read())


def test_configuration_and_tokenizer(files):
    first, second = files
    assert first.config == second.config
    for field in attrs.fields(type(first.tokenizer)):
        if field.name != "source":
            assert getattr(first.tokenizer, field.name) == getattr(second.tokenizer, field.name), field.name


@pytest.mark.proves("same bits as in GGUF", family="llama", format="apr", type=("F32", "Q4_1"))
def test_text(smollm2, apr):
    """The same logits, bit for bit, so the same text."""
    answers = []
    for path in (smollm2, apr):
        with LLM(str(path), backend="numpy", max_model_len=64) as llm:
            done = llm.generate(PROMPT, SamplingParams(temperature=0, max_tokens=2))
            answers.append((done.token_ids, done.text, llm.logits(list(done.prompt_token_ids)).tobytes()))
    assert answers[0] == answers[1]
    assert answers[1][1] == " Paris."
