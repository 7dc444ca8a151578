"""A backend's copies of weights in a file: beside the tensors, found again, and no part of the model."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest

from realizar.backend import BackendOptions
from realizar.conversion.convert import convert
from realizar.conversion.verification import verify
from realizar.dtypes import DTYPES
from realizar.engine import loader
from realizar.engine.loader import LoadedModel
from realizar.errors import FormatError
from realizar.model import ModelFile
from realizar.prepacked import HEADER_NBYTES, PREFIX, copy_name
from realizar.reference import NumpyBackend
from realizar.testing.models import memory_tensor, tiny_model
from realizar_apr.format import APR
from realizar_apr.reader import read_apr

UP = "model.layers.0.mlp.up_proj.weight"


class Floats(NumpyBackend):
    """Keeps matrices as float32."""

    name = "floats"
    prepacked_layout = "floats-1"

    def prepacked_nbytes(self, tensor):
        return 4 * int(np.prod(tensor.shape)) if len(tensor.shape) == 2 else 0

    def prepack(self, tensor, ops):
        return tensor.to_float32().view(np.uint8).reshape(-1)

    def load_prepacked(self, tensor, ops, data):
        self.copies = [*getattr(self, "copies", []), tensor.name]
        return data.view(np.float32).reshape(tensor.shape)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with copies."""
    path = tmp_path / "model.apr"
    convert(tiny_model("Q8_0").open(), APR(), path, prepack=Floats())
    return path


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    monkeypatch.setattr(loader, "open_named", lambda *args, **options: read_apr(path))
    monkeypatch.setattr(loader, "choose_backend", lambda name: (Floats, "asked for"))
    return loader.load_model(path, BackendOptions())


def rewritten(path: Path, model: ModelFile) -> Path:
    changed = path.with_name("changed.apr")
    APR().write(changed, model)
    return changed


def test_copies_are_no_tensors_of_the_model(path):
    model, file = tiny_model("Q8_0"), read_apr(path)
    assert set(file.tensors) == set(model.tensors)
    (layout,) = file.prepacked
    assert layout == "floats-1"
    assert set(file.prepacked[layout]) == {name for name, t in model.tensors.items() if len(t.shape) == 2}
    assert all(name == copy.name.removeprefix(f"{PREFIX}floats-1.") for name, copy in file.prepacked[layout].items())
    stored = file.prepacked[layout][UP].read()
    assert stored[HEADER_NBYTES:].tobytes() == model.tensors[UP].to_float32().tobytes()


def test_copies_are_aligned(path):
    file = read_apr(path)
    address = file.prepacked["floats-1"][UP].read().ctypes.data
    assert address % 64 == 0


def test_they_count_nothing_in_the_metadata(path, tmp_path):
    APR().write(tmp_path / "plain.apr", tiny_model("Q8_0").open())
    with_copies, without = read_apr(path).metadata, read_apr(tmp_path / "plain.apr").metadata
    assert with_copies == without


def test_the_same_weights(path, monkeypatch):
    loaded = load(path, monkeypatch)
    assert set(loaded.backend.copies) == set(loaded.file.prepacked["floats-1"])
    for name, tensor in tiny_model("Q8_0").tensors.items():
        np.testing.assert_array_equal(loaded.weights[name], tensor.to_float32())


def test_another_program_changed_a_tensor(path, monkeypatch, caplog):
    """And carried all others along."""
    file, other = read_apr(path), tiny_model("Q8_0", seed=1).tensors[UP]
    changed = rewritten(path, attrs.evolve(file, tensors={**file.tensors, UP: other}))
    loaded = load(changed, monkeypatch)
    assert UP not in loaded.backend.copies and len(loaded.backend.copies) == 14
    np.testing.assert_array_equal(loaded.weights[UP], other.to_float32())
    copy = copy_name("floats-1", UP)
    assert f"changed.apr: {copy}: found a copy of other weights than {UP!r} holds now" in caplog.text
    assert any(copy in finding for finding in verify(changed).findings)


@pytest.mark.parametrize("nbytes", [0, 64, 100_000])
def test_a_copy_of_another_size(path, monkeypatch, caplog, nbytes):
    file = read_apr(path)
    copy = memory_tensor("copy", np.zeros(nbytes, np.uint8), DTYPES["U8"])
    changed = rewritten(path, attrs.evolve(file, prepacked={"floats-1": {**file.prepacked["floats-1"], UP: copy}}))
    loaded = load(changed, monkeypatch)
    assert UP not in loaded.backend.copies
    assert f"found {nbytes} U8, expected {HEADER_NBYTES + 4 * 128 * 64} U8" in caplog.text


def test_a_file_cut_off_in_the_copies(path):
    content = path.read_bytes()
    path.write_bytes(content[: -len(content) // 4])
    with pytest.raises(FormatError, match=r"tensor 'realizar\.prepacked\..*is the download complete"):
        read_apr(path)


def test_damage_to_a_copy(path):
    content = bytearray(path.read_bytes())
    content[-5000] ^= 1
    path.write_bytes(content)
    file_checksum, of_copy = (finding for finding in verify(path).findings if "checksum" in finding)
    assert "of the file" in file_checksum
    assert PREFIX in of_copy and "do not fit their checksum" in of_copy


def test_they_are_dropped_by_a_conversion(path, tmp_path):
    convert(read_apr(path), APR(), tmp_path / "plain.apr")
    file = read_apr(tmp_path / "plain.apr")
    assert not file.prepacked and set(file.tensors) == set(tiny_model("Q8_0").tensors)
    assert PREFIX.encode() not in (tmp_path / "plain.apr").read_bytes()
