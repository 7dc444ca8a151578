"""The conformance kit on GGUF."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import ClassVar

import pytest

from realizar.formats import Format
from realizar.testing import FormatConformance
from realizar.testing.models import TinyModel
from realizar_gguf.plugin import realizar_formats

write_tiny_gguf = runpy.run_path(str(Path(__file__).with_name("tiny_gguf.py")))["write_tiny_gguf"]


@pytest.mark.proves("round trip", format="gguf", type="{weight_types}", test="test_round_trip")
class TestGGUF(FormatConformance):
    """Version 3, little-endian, with llama's interleaved q and k."""

    name: ClassVar[str] = "gguf"
    suffix: ClassVar[str] = ".gguf"
    weight_types: ClassVar[tuple[str, ...]] = ("F32", "F16", "BF16", "Q8_0", "Q4_1", "Q4_K", "IQ2_XXS", "MXFP4")

    def make_format(self) -> Format:
        gguf, _ = realizar_formats()
        return gguf

    def write(self, path: Path, model: TinyModel) -> None:
        write_tiny_gguf(path, model)
