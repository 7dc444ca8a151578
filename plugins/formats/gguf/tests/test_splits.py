"""Models in several files: any part opens the whole, and parts that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from realizar.dtypes import dtype
from realizar.errors import FormatError
from realizar_gguf.encoding import Typed
from realizar_gguf.metadata import ValueType
from realizar_gguf.reader import read_gguf
from realizar_gguf.splits import shard_path
from realizar_gguf.writer import write_gguf

TENSORS = [(f"tensor_{i}", (2, 4), dtype("F32"), np.full((2, 4), i, "<f4")) for i in range(5)]


def write_split(directory: Path, **options: object) -> list[Path]:
    keys = {"general.name": "split model"}
    return write_gguf(directory / "model.gguf", keys, TENSORS, tensors_per_file=2, **options)  # type: ignore[arg-type]


def part(path: Path, number: object, count: object, tensors: object = 5, content: list[object] | None = None) -> None:
    """Overwrite one part with other split keys."""
    values = {"split.no": number, "split.count": count, "split.tensors.count": tensors}
    keys = {key: Typed(ValueType.UINT16, value) for key, value in values.items() if value is not None}
    write_gguf(path, keys, content if content is not None else TENSORS[:2])  # type: ignore[arg-type]


def test_any_part_opens_the_whole(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    assert [path.name for path in paths] == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for path in paths:
        file = read_gguf(path)
        assert file.path == path
        assert file.metadata["general.name"] == "split model"
        assert list(file.tensors) == [name for name, *_ in TENSORS]
        for index, tensor in enumerate(file.tensors.values()):
            assert (tensor.read() == index).all()
        assert file.tensors["tensor_4"].source == "model-00003-of-00003.gguf: tensor_4"
        file.close()
        with pytest.raises(FormatError, match="00003-of-00003.*closed"):
            file.tensors["tensor_4"].read()


def test_alignment_is_each_parts_own(tmp_path: Path) -> None:
    paths = write_split(tmp_path, alignment=128, byteorder="big")
    assert (read_gguf(paths[1]).tensors["tensor_3"].read() == 3).all()


def test_one_part_of_one_needs_no_name(tmp_path: Path) -> None:
    part(tmp_path / "whole.gguf", 0, 1)
    assert len(read_gguf(tmp_path / "whole.gguf").tensors) == 2


def test_parts_stay_in_their_directory() -> None:
    assert shard_path(Path("/models/a-00002-of-00003.gguf"), 1, 3) == Path("/models/a-00001-of-00003.gguf")
    assert shard_path(Path("/models/..-00002-of-00003.gguf"), 1, 3).parent == Path("/models")


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    paths[1].unlink()
    with pytest.raises(FormatError, match=r"offset \d+: found split.count = .*model-00002-of-00003.gguf"):
        read_gguf(paths[0])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 3), "split.no = .* expected 1"),
        ((1, 4), "split.count = .* expected 3"),
        ((None, 3), "no key split.no"),
        ((1, None), "no key split.count"),
    ],
)
def test_a_part_with_wrong_keys(values: tuple[object, object], words: str, tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    part(paths[1], *values)
    with pytest.raises(FormatError, match=words) as caught:
        read_gguf(paths[0])
    assert "model-00002-of-00003.gguf: offset" in str(caught.value)


@pytest.mark.parametrize(("total", "words"), [(4, "count = .* expected 5"), (None, "no key split.tensors")])
def test_a_wrong_number_of_tensors(total: object, words: str, tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    part(paths[0], 0, 3, total)
    with pytest.raises(FormatError, match=words):
        read_gguf(paths[2])


def test_a_tensor_in_two_parts(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    part(paths[1], 1, 3, content=TENSORS[:2])  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="each tensor once"):
        read_gguf(paths[0])


@pytest.mark.parametrize(
    "name", ["model.gguf", "model-00001-of-00002.gguf", "model-00004-of-00003.gguf", "model-00000-of-00003.gguf"]
)
def test_a_name_that_contradicts_the_keys(name: str, tmp_path: Path) -> None:
    part(tmp_path / name, 0, 3)
    with pytest.raises(FormatError, match="NAME-NNNNN-of-00003.gguf"):
        read_gguf(tmp_path / name)


def test_too_many_parts(tmp_path: Path) -> None:
    part(tmp_path / "model-00001-of-65535.gguf", 0, 65535)
    with pytest.raises(FormatError, match="an integer from 0 to 1024"):
        read_gguf(tmp_path / "model-00001-of-65535.gguf")


def test_a_broken_part(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    paths[2].write_bytes(b"GGUF")
    with pytest.raises(FormatError, match="model-00003-of-00003.gguf: offset 4"):
        read_gguf(paths[0])
