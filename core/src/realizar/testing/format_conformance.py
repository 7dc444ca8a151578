"""What every format must show: files come back as they were written, and bad files do no harm."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.errors import FormatError, ModelError
from realizar.formats import Format
from realizar.model import ModelFile, TokenizerSpec
from realizar.selection import SNIFF_NBYTES
from realizar.testing.models import TinyModel, tiny_model, write_tiny
from realizar.testing.strategies import reproducible, tiny_models

Contents = dict[str, tuple[tuple[int, ...], str, bytes]]
"""Tensor name -> shape, type name, stored bytes."""

LARGE = 16384
"""intermediate_size of a model whose F32 tensors have 24 MB."""


class FormatConformance:
    """Subclass it and give `name`, `make_format` and `write`."""

    name: ClassVar[str]
    """The format's name."""

    suffix: ClassVar[str] = ".bin"
    """Of the files that are written."""

    weight_types: ClassVar[tuple[str, ...]] = ("F32", "F16", "BF16", "Q8_0", "Q4_K")
    """Types the format can hold."""

    keeps_config: ClassVar[bool] = True
    """Whether files carry the model configuration."""

    keeps_tokenizer: ClassVar[bool] = True
    """Whether files carry the tokenizer."""

    max_open_nbytes: ClassVar[int] = 4 << 20
    """Memory that opening a file may take at its peak, however large its tensors are."""

    max_hostile_nbytes: ClassVar[int] = 50 << 20
    """Memory that a damaged file may take at its peak."""

    max_hostile_s: ClassVar[float] = 5.0
    """Seconds that a damaged file may take."""

    max_examples: ClassVar[int] = 100
    """Damaged headers that are tried."""

    def make_format(self) -> Format:
        """The format, as its plugin registers it."""
        raise NotImplementedError(f"{type(self).__name__} must give make_format()")

    def write(self, path: Path, model: TinyModel) -> None:
        """Write `model` to `path` with the format's own writer or by hand."""
        raise NotImplementedError(f"{type(self).__name__} must give write()")

    def test_name(self) -> None:
        """The format is called what its subclass of the kit says."""
        assert self.make_format().name == self.name

    def test_round_trip(self, tmp_path: Path) -> None:
        """Tensors come back with their names, shapes, types and bytes, configuration and tokenizer as they were."""

        def check(model: TinyModel) -> None:
            path = self._path(tmp_path)
            self.write(path, model)
            with contextlib.closing(self.make_format().open(path)) as file:
                assert _contents(file) == _contents(model.open())
                assert file.path == path
                assert file.format == self.name
                self._check_config(file, model)
                self._check_tokenizer(file, model)

        for weight_type in self.weight_types:
            check(tiny_model(weight_type))
        reproducible(20)(given(tiny_models(self.weight_types))(check))()

    def test_tensors_say_where_they_are(self, tmp_path: Path) -> None:
        """`source` names the file; `nbytes` and `to_float32` agree with what is stored."""
        path = self._path(tmp_path)
        model = write_tiny(path, self.write, self.weight_types[-1])
        with contextlib.closing(self.make_format().open(path)) as file:
            for name, tensor in file.tensors.items():
                assert tensor.name == name
                assert path.name in tensor.source
                assert tensor.nbytes == tensor.read().nbytes
                assert np.array_equal(tensor.to_float32(), model.tensors[name].to_float32())

    def test_sniff(self, tmp_path: Path) -> None:
        """A file of the format scores above 0 and up to 100; garbage and what is empty, file or directory, score 0."""
        path, other, folder = self._path(tmp_path), tmp_path / "other.unknown", tmp_path / "empty"
        folder.mkdir()
        write_tiny(path, self.write, self.weight_types[0])
        other.write_bytes(bytes(range(1, 256)))
        sniff = self.make_format().sniff
        assert 0 < sniff(path, path.read_bytes()[:SNIFF_NBYTES]) <= 100
        assert sniff(other, other.read_bytes()) == 0
        assert sniff(other, b"") == 0
        assert sniff(folder, b"") == 0

    def test_open_reads_no_tensor(self, tmp_path: Path) -> None:
        """Opening takes `max_open_nbytes` at most, and one tensor's `read` no more than that tensor besides."""
        path = self._path(tmp_path)
        self.write(path, tiny_model(self.weight_types[0], intermediate_size=LARGE))
        with _measured() as peak, contextlib.closing(self.make_format().open(path)) as file:
            assert peak() <= self.max_open_nbytes, f"open took {peak()} bytes"
            smallest = min(file.tensors.values(), key=lambda tensor: tensor.nbytes)
            smallest.read()
            assert peak() <= self.max_open_nbytes, f"reading {smallest.nbytes} bytes took {peak()} bytes"

    def test_missing_file(self, tmp_path: Path) -> None:
        """A file that is not there is a FormatError, or the system's own error."""
        with pytest.raises((FormatError, FileNotFoundError)):
            self.make_format().open(self._path(tmp_path))

    def test_truncated(self, tmp_path: Path) -> None:
        """A file cut anywhere raises FormatError or ModelError, unless only padding is gone."""
        path = self._path(tmp_path)
        model = write_tiny(path, self.write, self.weight_types[0])
        whole, expected = path.read_bytes(), _contents(model.open())
        lengths = {*range(0, 64), *np.linspace(64, len(whole) - 1, 40, dtype=int).tolist(), len(whole) - 1}
        for length in sorted(lengths):
            path.write_bytes(whole[:length])
            found = self._survive(path, f"cut to {length} of {len(whole)} bytes")
            assert found in (None, expected), f"cut to {length} of {len(whole)} bytes: opened, with other tensors"

    def test_damaged_header(self, tmp_path: Path) -> None:
        """With bytes changed near its start a file opens or raises FormatError or ModelError, in time and memory."""
        self._damage(tmp_path, lambda size: st.integers(0, min(size, 4096) - 1))

    def test_damaged_anywhere(self, tmp_path: Path) -> None:
        """The same with bytes changed anywhere: some formats keep their header at the end."""
        self._damage(
            tmp_path, lambda size: st.one_of(st.integers(0, size - 1), st.integers(max(0, size - 4096), size - 1))
        )

    def _damage(self, tmp_path: Path, offsets: Callable[[int], st.SearchStrategy[int]]) -> None:
        path = self._path(tmp_path)
        write_tiny(path, self.write, self.weight_types[0])
        whole = path.read_bytes()
        values = st.one_of(st.integers(0, 255), st.sampled_from((0x00, 0x7F, 0x80, 0xFF)))
        changes = st.lists(st.tuples(offsets(len(whole)), values), min_size=1, max_size=8)

        @reproducible(self.max_examples)
        @given(changes)
        def check(changes: list[tuple[int, int]]) -> None:
            damaged = bytearray(whole)
            for offset, value in changes:
                damaged[offset] = value
            path.write_bytes(damaged)
            self._survive(path, f"bytes changed: {changes}")

        check()

    def _survive(self, path: Path, what: str) -> Contents | None:
        """Open and read a damaged file: its tensors, or None if it was refused; fails for any other outcome."""
        start = time.perf_counter()
        with _measured() as peak:
            try:
                with contextlib.closing(self.make_format().open(path)) as file:
                    found = _contents(file)
            except (FormatError, ModelError):
                found = None
            except Exception as error:
                raise AssertionError(f"{what}: {type(error).__name__} instead of FormatError: {error}") from error
            assert peak() <= self.max_hostile_nbytes, f"{what}: took {peak()} bytes"
        seconds = time.perf_counter() - start
        assert seconds <= self.max_hostile_s, f"{what}: took {seconds:.1f} s"
        return found

    def _check_config(self, file: ModelFile, model: TinyModel) -> None:
        if self.keeps_config:
            assert file.config is not None
            assert attrs.evolve(file.config, unknown=()) == model.config
        else:
            assert file.config is None

    def _check_tokenizer(self, file: ModelFile, model: TinyModel) -> None:
        if self.keeps_tokenizer:
            assert file.tokenizer is not None
            assert _plain(file.tokenizer) == _plain(model.tokenizer)
        else:
            assert file.tokenizer is None

    def _path(self, folder: Path) -> Path:
        return folder / f"model{self.suffix}"


def _contents(file: ModelFile) -> Contents:
    return {n: (t.shape, t.dtype.name, t.read().tobytes()) for n, t in file.tensors.items()}


def _plain(spec: TokenizerSpec) -> dict[str, object]:
    """All fields but `source`, with sequences as lists: a file may keep them in any sequence type."""
    values = {field.name: getattr(spec, field.name) for field in attrs.fields(TokenizerSpec)}
    del values["source"]
    sequences = ("tokens", "token_types", "merges", "scores")
    return values | {name: None if values[name] is None else list(values[name]) for name in sequences}


@contextlib.contextmanager
def _measured() -> Iterator[Callable[[], int]]:
    """A function that tells the peak of traced memory, in bytes above what there was."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
