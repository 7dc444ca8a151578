"""The conformance kit on APR."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import ClassVar

import pytest

from realizar.formats import Format
from realizar.testing import FormatConformance
from realizar.testing.models import TinyModel
from realizar_apr.format import APR
from realizar_apr.plugin import realizar_formats

packed = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))["packed"]


@pytest.mark.proves("round trip", format="apr", type="{weight_types}", test="test_round_trip")
class TestAPR(FormatConformance):
    """As `Format.write` makes it."""

    name: ClassVar[str] = "apr"
    suffix: ClassVar[str] = ".apr"
    weight_types: ClassVar[tuple[str, ...]] = (
        "F32", "F16", "BF16", "F64", "I8", "I16", "I32", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K", "IQ2_XXS", "MXFP4",
    )  # fmt: skip

    def make_format(self) -> Format:
        (apr,) = realizar_formats()
        return apr

    def write(self, path: Path, model: TinyModel) -> None:
        APR().write(path, model.open())


class TestZstd(TestAPR):
    """Compressed: the whole file is in memory."""

    max_open_nbytes: ClassVar[int] = 80 << 20
    max_examples: ClassVar[int] = 40

    def write(self, path: Path, model: TinyModel) -> None:
        super().write(path, model)
        path.write_bytes(packed(path.read_bytes(), "zstd"))


class TestLz4(TestZstd):
    """Compressed by the other method."""

    def write(self, path: Path, model: TinyModel) -> None:
        TestAPR.write(self, path, model)
        path.write_bytes(packed(path.read_bytes(), "lz4"))
