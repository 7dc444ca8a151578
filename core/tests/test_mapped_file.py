"""A mapped file gives pages back, outlives its arrays' use, and is a regular file with something in it."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from realizar.errors import FormatError
from realizar.mapped_file import MappedFile


class RecordingMap:
    """A mapping that notes which ranges are given back."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self._mapping = mapping
        self.ranges: list[tuple[int, int]] = []

    def madvise(self, advice: int, start: int, nbytes: int) -> None:
        assert advice == mmap.MADV_DONTNEED
        self._mapping.madvise(advice, start, nbytes)
        self.ranges.append((start, nbytes))

    def close(self) -> None:
        self._mapping.close()


def test_released_pages_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages of the range, whole ones, are dropped; arrays that were read stay valid."""
    numbers = np.arange(5000, dtype="<f4")
    path = tmp_path / "numbers"
    path.write_bytes(numbers.tobytes())
    file = MappedFile(path, "numbers")
    view = np.frombuffer(file.view, "<f4")
    page = mmap.PAGESIZE
    advice = RecordingMap(file._map)
    monkeypatch.setattr(file, "_map", advice)
    file.release(page + 8, page - 8)
    file.release(0, 20000)
    assert advice.ranges == [(page, page), (0, 20000)]
    np.testing.assert_array_equal(view, numbers)
    file.close()
    file.release(0, 20000)
    assert len(advice.ranges) == 2


def test_arrays_outlive_close_and_the_view_does_not(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(bytes(range(8)))
    file = MappedFile(path, "numbers")
    kept = np.frombuffer(file.view, np.uint8)
    file.close()
    assert kept.tolist() == list(range(8))
    with pytest.raises(FormatError, match="numbers: the model file is closed"):
        _ = file.view


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError, match="found an empty file, expected magic"):
        MappedFile(tmp_path / "empty", "magic")
    with pytest.raises(FormatError, match="no regular file, expected one that begins with magic"):
        MappedFile(tmp_path, "magic")
    for name in ("absent", "nul\0"):
        with pytest.raises(FormatError, match="cannot be opened"):
            MappedFile(tmp_path / name, "magic")
