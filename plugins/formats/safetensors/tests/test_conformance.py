"""The conformance kit on Safetensors."""

from __future__ import annotations

import contextlib
import runpy
from pathlib import Path
from typing import ClassVar

import pytest

from realizar.formats import Format
from realizar.testing import FormatConformance
from realizar.testing.models import TinyModel, tiny_model
from realizar_safetensors.plugin import realizar_formats
from realizar_safetensors.reader import read_model

write_tiny_directory = runpy.run_path(str(Path(__file__).with_name("tiny_directory.py")))["write_tiny_directory"]
SHARD_NBYTES = 1 << 13


@pytest.mark.proves("round trip", format="safetensors", type="{weight_types}", test="test_round_trip")
class TestSafetensors(FormatConformance):
    """One file, with the JSON files of its directory."""

    name: ClassVar[str] = "safetensors"
    suffix: ClassVar[str] = ".safetensors"
    weight_types: ClassVar[tuple[str, ...]] = ("F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2", "U8", "I32")

    def make_format(self) -> Format:
        (safetensors,) = realizar_formats()
        return safetensors

    def write(self, path: Path, model: TinyModel) -> None:
        write_tiny_directory(path, model)


class TestSharded(TestSafetensors):
    """Several files and their index, which is what is opened and damaged."""

    suffix: ClassVar[str] = ".safetensors.index.json"

    def write(self, path: Path, model: TinyModel) -> None:
        write_tiny_directory(path.with_name("model.safetensors"), model, max_shard_nbytes=SHARD_NBYTES)

    def test_tensors_say_where_they_are(self, tmp_path: Path) -> None:
        """In a shard, not in the index."""
        path = tmp_path / "model.safetensors.index.json"
        self.write(path, tiny_model("F16"))
        with contextlib.closing(self.make_format().open(path)) as file:
            for name, tensor in file.tensors.items():
                shard, _, told = tensor.source.partition(": ")
                assert told == name
                assert name in read_model(tmp_path / shard).tensors
