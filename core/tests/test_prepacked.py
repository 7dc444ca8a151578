"""Copies of weights in a backend's layout: made, found again, used, and left alone where they do not fit."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar import prepacked
from realizar.backend import Backend, BackendOptions
from realizar.cli.inspect import describe
from realizar.conversion.convert import convert
from realizar.conversion.prepacking import prepacked as with_copies
from realizar.conversion.quantization import quantize_model
from realizar.conversion.verification import Report, verify
from realizar.dtypes import DTYPES
from realizar.engine import loader
from realizar.errors import FormatError, ModelError, PluginError, UnsupportedOp
from realizar.formats import Format
from realizar.model import ModelFile
from realizar.prepacked import HEADER_NBYTES, SAMPLE_NBYTES, SAMPLES, copy_name, data_of
from realizar.reference import NumpyBackend
from realizar.tensors import LazyTensor
from realizar.testing.models import memory_tensor, tiny_model

LINEAR = frozenset({"linear"})
UP = "model.layers.1.mlp.up_proj.weight"


class Columns(NumpyBackend):
    """Lays matrices out column by column, as float32."""

    name = "columns"
    prepacked_layout = "columns-2"
    loaded: list[str]
    from_copies: list[str]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.loaded, self.from_copies = [], []

    def load(self, tensor, ops):
        self.loaded.append(tensor.name)
        return np.asfortranarray(super().load(tensor, ops))

    def reserve(self, tensors, prepacked=frozenset()):
        self.promised = prepacked

    def prepacked_nbytes(self, tensor):
        return 4 * int(np.prod(tensor.shape)) if len(tensor.shape) == 2 else 0

    def prepack(self, tensor, ops):
        return np.ascontiguousarray(tensor.to_float32().T).view(np.uint8).reshape(-1)

    def load_prepacked(self, tensor, ops, data):
        self.from_copies.append(tensor.name)
        return data.view(np.float32).reshape(tensor.shape[::-1]).T


class AllZero(Columns):
    """Copies everything, without a look at it."""

    def prepacked_nbytes(self, tensor):
        return 8

    def prepack(self, tensor, ops):
        return np.zeros(8, np.uint8)


class Kept(Format):
    """Keeps what it is given to write, and opens that."""

    name = "kept"
    writable = frozenset(DTYPES)
    holds_prepacked = True

    def sniff(self, path, head):
        return 100

    def open(self, path):
        return self.model

    def write(self, path, model, progress=None):
        self.model = attrs.evolve(model, prepacked={
            layout: {name: memory_tensor(copy.name, copy.read(), copy.dtype) for name, copy in copies.items()}
            for layout, copies in model.prepacked.items()
        })  # fmt: skip


def written(model: ModelFile | None = None, dtype: str | None = None) -> ModelFile:
    """A model with copies, all of it in memory."""
    target = Kept()
    convert(model or tiny_model("Q8_0").open(), target, Path("x"), dtype, prepack=Columns())
    return target.model


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., loader.LoadedModel]:
    """Loads an open model."""

    def run(file: ModelFile, backend: type[NumpyBackend] = Columns) -> loader.LoadedModel:
        monkeypatch.setattr(loader, "open_named", lambda *args, **options: file)
        monkeypatch.setattr(loader, "choose_backend", lambda name: (backend, "asked for"))
        return loader.load_model("tiny", BackendOptions())

    return run


def with_copy(file: ModelFile, name: str, copy: LazyTensor, layout: str = "columns-2") -> ModelFile:
    """The file with another copy of one tensor."""
    return attrs.evolve(file, prepacked={layout: {**file.prepacked[layout], name: copy}})


def planted(copy: LazyTensor, at: int, content: bytes) -> LazyTensor:
    """The copy with other bytes somewhere."""
    stored = copy.read().copy()
    stored[at : at + len(content)] = np.frombuffer(content, np.uint8)
    return memory_tensor(copy.name, stored, copy.dtype)


def unread(name: str, shape: tuple[int, ...], dtype: str = "U8") -> LazyTensor:
    """A tensor whose bytes nobody may ask for."""

    def fail() -> Any:
        raise AssertionError(f"{name} was read")

    return LazyTensor(name, shape, DTYPES[dtype], name, fail)


class TestUse:
    def test_every_matrix_is_loaded_from_its_copy(self, load, caplog):
        file = written()
        with caplog.at_level(logging.WARNING):
            loaded = load(file)
        matrices = {name for name, tensor in file.tensors.items() if len(tensor.shape) == 2}
        assert set(loaded.backend.from_copies) == set(file.prepacked["columns-2"]) == matrices
        assert loaded.backend.promised == matrices
        assert set(loaded.backend.loaded) == set(file.tensors) - matrices
        for name, tensor in file.tensors.items():
            np.testing.assert_array_equal(loaded.weights[name], tensor.to_float32())
        assert not caplog.records

    def test_sources_are_hardly_read(self):
        """Pieces of a large tensor at its start, in between and at its end, and the type and shape."""
        stored = np.zeros((64, 1024), np.float32)
        tensor = memory_tensor("t", stored, DTYPES["F32"])
        copy = prepacked.copy_to_write(tensor, LINEAR, Columns())
        copy = memory_tensor(copy.name, copy.read(), copy.dtype)
        spaces = (stored.nbytes - SAMPLE_NBYTES) // (SAMPLES - 1)
        for at in (0, SAMPLE_NBYTES - 1, spaces, 2 * spaces, stored.nbytes - 1):
            changed = np.zeros(stored.nbytes, np.uint8)
            changed[at] = 1
            changed = changed.view(np.float32).reshape(64, 1024)
            with pytest.raises(FormatError, match="a copy of other weights than 't' holds now"):
                data_of(copy, memory_tensor("t", changed, DTYPES["F32"]), stored.nbytes)
        unsampled = np.zeros(stored.nbytes, np.uint8)
        unsampled[SAMPLE_NBYTES] = 1
        unsampled = memory_tensor("t", unsampled.view(np.float32).reshape(64, 1024), DTYPES["F32"])
        assert data_of(copy, unsampled, stored.nbytes).nbytes == stored.nbytes
        assert "other weights" in " ".join(prepacked.findings(copy, unsampled))

    @pytest.mark.parametrize("other", [("F32", (8, 4)), ("I32", (4, 8))])
    def test_the_same_bytes_as_another_tensor(self, other):
        copy = prepacked.copy_to_write(
            memory_tensor("t", np.zeros((4, 8), np.float32), DTYPES["F32"]), LINEAR, Columns()
        )
        name, shape = other
        stored = np.zeros(shape, DTYPES[name].storage)
        with pytest.raises(FormatError, match="other weights"):
            data_of(copy, memory_tensor("t", stored, DTYPES[name]), 128)

    def test_a_backend_without_a_layout_ignores_them(self, load, caplog):
        with caplog.at_level(logging.WARNING):
            loaded = load(written(), NumpyBackend)
        assert set(loaded.weights) == set(tiny_model().tensors)
        assert not caplog.records

    def test_copies_are_released_after_use(self, load):
        released: list[str] = []
        file = written()
        copies = {
            name: attrs.evolve(copy, release=lambda name=name: released.append(name))
            for name, copy in file.prepacked["columns-2"].items()
        }
        load(attrs.evolve(file, prepacked={"columns-2": copies}))
        assert sorted(released) == sorted(copies)


class TestUnfit:
    """Reported, left alone, and the tensor itself is loaded."""

    def prove_left_alone(self, load, caplog, file: ModelFile, said: str) -> None:
        with caplog.at_level(logging.WARNING):
            loaded = load(file)
        assert UP in loaded.backend.loaded and UP not in loaded.backend.from_copies
        np.testing.assert_array_equal(loaded.weights[UP], file.tensors[UP].to_float32())
        assert "1 of 15 prepacked copies are not used" in caplog.text
        assert said in caplog.text and "realizar convert SRC DST --prepack" in caplog.text

    def test_stale(self, load, caplog):
        file = written()
        other = tiny_model("Q8_0", seed=1).tensors[UP]
        file = attrs.evolve(file, tensors={**file.tensors, UP: other})
        self.prove_left_alone(load, caplog, file, f"a copy of other weights than '{UP}' holds now")

    @pytest.mark.parametrize("nbytes", [0, 63, 64, 64 + 4 * 128 * 64 - 1, 64 + 4 * 128 * 64 + 1, 1 << 60])
    def test_another_size(self, load, caplog, nbytes):
        """Nothing of it is read."""
        file = written()
        file = with_copy(file, UP, unread("copy", (nbytes,)))
        self.prove_left_alone(load, caplog, file, f"copy: found {nbytes} U8, expected {64 + 4 * 128 * 64} U8")

    def test_another_type(self, load, caplog):
        file = written()
        file = with_copy(file, UP, unread("copy", (16 + 128 * 64,), "F32"))
        self.prove_left_alone(load, caplog, file, "F32, expected")

    def test_another_header(self, load, caplog):
        file = written()
        file = with_copy(file, UP, planted(file.prepacked["columns-2"][UP], 0, b"prepack2"))
        self.prove_left_alone(load, caplog, file, "found b'prepack2', expected b'prepack1'")

    def test_a_copy_of_what_needs_none(self, load, caplog):
        file = written()
        norm = memory_tensor("copy", np.zeros(HEADER_NBYTES, np.uint8), DTYPES["U8"])
        with caplog.at_level(logging.WARNING):
            loaded = load(with_copy(file, "model.norm.weight", norm))
        assert "model.norm.weight" in loaded.backend.loaded
        assert "expected none of such a tensor" in caplog.text

    def test_another_version_of_the_layout(self, load, caplog):
        file = written()
        file = attrs.evolve(file, prepacked={"columns-1": file.prepacked["columns-2"]})
        with caplog.at_level(logging.WARNING):
            loaded = load(file)
        assert set(loaded.backend.loaded) == set(file.tensors)
        assert "prepacked copies (columns-1) are not used, for this is columns-2" in caplog.text


class TestConversion:
    def test_names_and_headers(self):
        file = written()
        copy = file.prepacked["columns-2"][UP]
        assert copy.name == copy_name("columns-2", UP) == f"realizar.prepacked.columns-2.{UP}"
        stored, source = copy.read().tobytes(), file.tensors[UP]
        named = zlib.crc32(f"Q8_0 {source.shape}".encode())
        assert stored[:8] == b"prepack1"
        assert int.from_bytes(stored[12:16], "little") == zlib.crc32(source.read().tobytes(), named)
        assert int.from_bytes(stored[16:20], "little") == zlib.crc32(stored[64:])
        assert stored[20:64] == bytes(44)
        assert stored[64:] == source.to_float32().T.tobytes()

    def test_copies_are_of_what_is_written(self, load):
        loaded = load(written(dtype="F16"))
        assert UP in loaded.backend.from_copies
        expected = tiny_model("Q8_0").tensors[UP].to_float32().astype(np.float16)
        np.testing.assert_array_equal(loaded.weights[UP], expected)

    def test_others_are_left_out(self):
        target = Kept()
        convert(written(), target, Path("x"))
        assert not target.model.prepacked
        quantize_model(written(tiny_model(hidden_size=256).open()), target, Path("x"), "Q8_0")
        assert not target.model.prepacked

    def test_a_target_that_cannot_hold_them(self):
        target = type("Plain", (Kept,), {"name": "plain", "holds_prepacked": False})()
        with pytest.raises(FormatError, match="plain files cannot hold a backend's copy"):
            convert(tiny_model().open(), target, Path("x"), prepack=Columns())

    def test_a_backend_without_a_layout(self):
        with pytest.raises(PluginError, match="backend 'numpy' has no layout of its own"):
            with_copies(tiny_model().open(), NumpyBackend())

    def test_a_model_without_a_configuration(self):
        file = attrs.evolve(tiny_model().open(), config=None, no_config="it is a dump")
        with pytest.raises(ModelError, match="cannot be prepacked, it is a dump"):
            with_copies(file, Columns())

    def test_backends_make_none_by_default(self):
        backend, tensor = NumpyBackend(), tiny_model().tensors[UP]
        assert backend.prepacked_layout is None and backend.prepacked_nbytes(tensor) == 0
        with pytest.raises(UnsupportedOp):
            backend.prepack(tensor, LINEAR)
        with pytest.raises(UnsupportedOp):
            backend.load_prepacked(tensor, LINEAR, np.zeros(0, np.uint8))


class TestVerify:
    @pytest.fixture
    def backends(self, monkeypatch):
        """The backends that are here, at first none that makes copies."""
        found: list[type[Backend]] = [NumpyBackend]

        class Host:
            def contributions(self, kind: str) -> list[Any]:
                assert kind == "backend"
                return [SimpleNamespace(contribution=backend) for backend in found]

        monkeypatch.setattr("realizar.conversion.copy_verification.host", Host)
        return found

    @pytest.fixture
    def report(self, monkeypatch, backends):
        def run(file: ModelFile) -> Report:
            target = Kept()
            target.model = file
            monkeypatch.setattr("realizar.conversion.verification.choose_format", lambda *args: target)
            monkeypatch.setattr("realizar.conversion.verification.build_tokenizer", lambda spec: None)
            return verify(Path("x"))

        return run

    def test_sound(self, report, backends):
        found = report(written())
        assert found.findings == []
        assert "copies in layout 'columns-2': only checksums are checked" in found.notes[-1]
        backends.append(Columns)
        assert report(written()) == attrs.evolve(found, notes=found.notes[:-1])

    @pytest.mark.parametrize("nbytes", [4 * 128 * 64, 4 * 128 * 64 - 4, 0])
    def test_a_forged_copy(self, report, backends, nbytes):
        """All its checksums fit; but it is not what its backend makes of the weight."""
        file = written()
        copy, data = file.prepacked["columns-2"][UP], np.zeros(nbytes, np.uint8)
        header = copy.read()[:HEADER_NBYTES].copy()
        header[16:20] = np.frombuffer(zlib.crc32(data.data).to_bytes(4, "little"), np.uint8)
        forged = with_copy(file, UP, memory_tensor("copy", np.concatenate([header, data]), copy.dtype))
        assert report(forged).findings == []
        backends.append(Columns)
        assert report(forged).findings == [f"memory: copy: found other bytes than backend 'columns' makes of {UP!r}"]

    def test_a_copy_of_what_needs_none(self, report, backends):
        file, norm = written(), "model.norm.weight"
        tensor = file.tensors[norm]
        forged = attrs.evolve(prepacked.copy_to_write(tensor, LINEAR, AllZero()), source="copy")
        backends.append(Columns)
        found = report(with_copy(file, norm, forged)).findings
        assert found == [f"copy: found other bytes than backend 'columns' makes of {norm!r}"]

    def test_a_model_that_has_no_graph(self, report, backends):
        """That is one finding; the copies fit all the same."""
        backends.append(Columns)
        file = written()
        (finding,) = report(attrs.evolve(file, config=attrs.evolve(file.config, model_type="odd"))).findings
        assert "unknown architecture 'odd'" in finding

    @pytest.mark.parametrize(
        "at, content, said",
        [
            (0, b"x", "expected b'prepack1'"),
            (12, b"\1\2\3\4", f"a copy of other weights than '{UP}' holds now"),
            (16, b"\1\2\3\4", "bytes that do not fit their checksum, expected 04030201"),
            (64 + 9999, b"\1\2\3\4", "bytes that do not fit their checksum"),
        ],
    )
    def test_damage(self, report, at, content, said):
        file = written()
        (finding,) = report(with_copy(file, UP, planted(file.prepacked["columns-2"][UP], at, content))).findings
        assert copy_name("columns-2", UP) in finding and said in finding

    def test_too_short(self, report):
        (finding,) = report(with_copy(written(), UP, unread("copy", (63,)))).findings
        assert finding == "copy: found 63 U8, expected 64 U8"

    def test_a_copy_of_nothing(self, report):
        (finding,) = report(with_copy(written(), "gone", unread("copy", (99,)))).findings
        assert finding == "copy: found a copy of a tensor that is not in the file"


def test_inspect_counts_them(plugins):
    assert describe(written())["prepacked"] == {
        "columns-2": {"tensors": 15, "nbytes": sum(c.nbytes for c in written().prepacked["columns-2"].values())}
    }


WORDS = st.text("abc.-", max_size=6)


@given(st.lists(WORDS | WORDS.map(lambda word: prepacked.PREFIX + word), unique=True))
def test_every_tensor_is_set_apart_or_not(names: list[str]) -> None:
    tensors = {name: unread(name, (1,)) for name in names}
    plain, copies = prepacked.set_apart(tensors)
    found = {copy for of_layout in copies.values() for copy in of_layout.values()} | set(plain.values())
    assert all(not name.startswith(prepacked.PREFIX) for name in plain)
    for layout, of_layout in copies.items():
        for source, copy in of_layout.items():
            assert copy.name in (copy_name(layout, source), prepacked.PREFIX + layout)
    assert found <= set(tensors.values())
