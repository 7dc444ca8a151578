"""What a path means, and what a file says; the files are put together byte by byte."""

from __future__ import annotations

import json
import logging
import runpy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from realizar.dtypes import dtype
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.mapped_file import MappedFile
from realizar.testing.models import tiny_model
from realizar_safetensors import plugin
from realizar_safetensors.reader import read_model

BYTES = runpy.run_path(str(Path(__file__).with_name("make_hostile.py")))
file, entry, index, VALID = BYTES["file"], BYTES["entry"], BYTES["index"], BYTES["VALID"]
TINY = runpy.run_path(str(Path(__file__).with_name("tiny_directory.py")))
A, B = BYTES["A"], BYTES["B"]


def write(directory: Path, content: bytes) -> Path:
    path = directory / "model.safetensors"
    path.write_bytes(content)
    return path


def write_shards(directory: Path) -> None:
    BYTES["write_directory"](
        directory,
        {
            **index({"x": A, "y": B, "z": A}),
            A: file({"x": entry([2], 0, 8), "z": entry([1], 8, 12)}, np.arange(3, dtype="<f4").tobytes()),
            B: file({"y": entry([1, 2], 0, 4, "BF16")}, b"\x80\x3f\x49\xc0"),
        },
    )


class TestSniff:
    """Scores of paths."""

    @pytest.fixture
    def sniff(self):  # type: ignore[no-untyped-def]
        (contribution,) = plugin.realizar_formats()
        assert isinstance(contribution, Format)
        assert contribution.name == "safetensors"
        return contribution.sniff

    def test_files(self, sniff) -> None:  # type: ignore[no-untyped-def]
        assert sniff(Path("x"), VALID["scalar"]) == 100
        assert sniff(Path("x.safetensors"), b"") == 50
        assert sniff(Path("x.safetensors.index.json"), b"{") == 100
        assert sniff(Path("x.gguf"), b"GGUF\3\0\0\0{") == 0
        assert sniff(Path("x"), b"\1\0\0\0\0\0\0\0{") == 0
        assert sniff(Path("config.json"), b'{"a": 1, "b": 2}') == 0

    def test_directories(self, sniff, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        assert sniff(tmp_path, b"") == 0
        (tmp_path / "pytorch_model.bin").touch()
        assert sniff(tmp_path, b"") == 1
        (tmp_path / "other.safetensors").touch()
        assert sniff(tmp_path, b"") == 100
        (tmp_path / "more.safetensors").touch()
        assert sniff(tmp_path, b"") == 1
        (tmp_path / "model.safetensors.index.json").touch()
        assert sniff(tmp_path, b"") == 100


class TestPaths:
    """A directory, an index, any shard: the same model."""

    @pytest.mark.parametrize("name", [".", "model.safetensors.index.json", A, B])
    def test_of_a_sharded_model(self, name: str, tmp_path: Path) -> None:
        write_shards(tmp_path)
        model = read_model(tmp_path / name)
        assert model.path == tmp_path / name
        assert list(model.tensors) == ["x", "z", "y"]
        assert model.tensors["y"].source == f"{B}: y"
        np.testing.assert_array_equal(model.tensors["y"].to_float32(), [[1.0, -3.140625]])
        np.testing.assert_array_equal(model.tensors["z"].read(), [2.0])

    def test_a_shard_without_its_index_is_a_file(self, tmp_path: Path) -> None:
        write_shards(tmp_path)
        (tmp_path / "model.safetensors.index.json").unlink()
        assert list(read_model(tmp_path / B).tensors) == ["y"]

    def test_model_safetensors_comes_before_an_index(self, tmp_path: Path) -> None:
        write_shards(tmp_path)
        write(tmp_path, VALID["scalar"])
        assert list(read_model(tmp_path).tensors) == ["a"]

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            ([], "found no model"),
            (["pytorch_model.bin"], "a pickle, which can run any code"),
            (["a.safetensors", "b.safetensors"], r"2 files \(a\.safetensors, b\.safetensors\); name one of them"),
        ],
    )
    def test_of_no_model(self, names: list[str], words: str, tmp_path: Path) -> None:
        for name in names:
            (tmp_path / name).touch()
        with pytest.raises(FormatError, match=f"{words}.*expected model.safetensors"):
            read_model(tmp_path)

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        for path in (tmp_path / "absent.safetensors", tmp_path / "nul\0.safetensors"):
            with pytest.raises(FormatError, match="cannot be opened"):
                read_model(path)


class TestTensors:
    """Views of the file, given back on request."""

    def test_are_read_only_views(self, tmp_path: Path) -> None:
        numbers = np.arange(6, dtype="<f4")
        data = numbers.tobytes() + b"\x38\x80\xff"
        path = write(tmp_path, file({"a": entry([3, 2], 0, 24), "b": entry([3], 24, 27, "F8_E4M3")}, data))
        tensors = read_model(path).tensors
        a, b = tensors["a"], tensors["b"]
        assert (a.shape, a.dtype, a.nbytes, a.source) == ((3, 2), dtype("F32"), 24, "model.safetensors: a")
        np.testing.assert_array_equal(a.read(), numbers.reshape(3, 2))
        np.testing.assert_array_equal(b.to_float32(), [1.0, -0.0, np.nan])
        assert not a.read().flags.writeable
        assert not a.read().flags.owndata

    def test_of_every_type_have_their_values(self, tmp_path: Path) -> None:
        """Bytes 0 and 1 in turn, three numbers each."""
        tensors = read_model(write(tmp_path, VALID["every_type"])).tensors
        assert set(tensors) == set(BYTES["ALL"])
        at = 0
        for name, tensor in tensors.items():
            raw = bytes((at + i) % 2 for i in range(tensor.nbytes))
            at += tensor.nbytes
            assert tensor.read().tobytes() == raw
            if name[0] in "UI":
                width = tensor.dtype.block_nbytes
                expected = [int.from_bytes(raw[i * width : (i + 1) * width], "little") for i in range(3)]
                np.testing.assert_array_equal(tensor.to_float32()[:, 0], np.float32(expected))

    def test_unaligned_ones_are_copied_and_it_is_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = write(tmp_path, VALID["unaligned"])
        with caplog.at_level(logging.WARNING):
            tensor = read_model(path).tensors["t"]
        assert "1 of 1 tensors are not aligned" in caplog.text
        stored = tensor.read()
        assert stored.flags.aligned and not stored.flags.writeable
        assert stored.tobytes() == bytes(range(16))

    def test_release_their_own_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        released: list[tuple[int, int]] = []
        monkeypatch.setattr(MappedFile, "release", lambda self, offset, nbytes: released.append((offset, nbytes)))
        path = write(tmp_path, file({"a": entry([3], 0, 12), "b": entry([2], 12, 20)}, bytes(20)))
        tensors = read_model(path).tensors
        tensors["b"].release()
        tensors["a"].release()
        end = path.stat().st_size
        assert released == [(end - 8, 8), (end - 20, 12)]

    def test_are_gone_after_close(self, tmp_path: Path) -> None:
        model = read_model(write(tmp_path, VALID["scalar"]))
        kept = model.tensors["a"].read()
        model.close()
        model.close()
        assert kept == 0
        with pytest.raises(FormatError, match="closed"):
            model.tensors["a"].read()

    def test_a_big_file_is_not_read_when_it_is_opened(self, tmp_path: Path) -> None:
        """8 GB of a hole in the file."""
        path = write(tmp_path, file({"t": entry([1 << 31], 0, 1 << 33)}))
        with open(path, "r+b") as stream:
            stream.truncate(path.stat().st_size + (1 << 33))
        tracemalloc.start()
        tensor = read_model(path).tensors["t"]
        assert tensor.read()[-1] == 0
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


class TestDescription:
    """Configuration, tokenizer and metadata come from the directory."""

    def test_of_a_lone_file(self, tmp_path: Path) -> None:
        model = read_model(write(tmp_path, VALID["metadata_only"]))
        assert model.metadata == {"format": "pt", "note": 'grün "x" \\ \n'}
        assert (model.config, model.no_config) == (None, "there is no config.json beside it")
        assert (model.tokenizer, model.no_tokenizer) == (None, "there are no tokenizer files beside it")

    def test_of_a_directory(self, tmp_path: Path) -> None:
        tiny = tiny_model("F16")
        TINY["write_tiny_directory"](tmp_path / "model.safetensors", tiny)
        model = read_model(tmp_path)
        assert model.config is not None and model.tokenizer is not None
        assert model.config.hidden_size == 64
        assert model.metadata["format"] == "pt"
        assert model.metadata["config.json"]["hidden_size"] == 64  # type: ignore[index]
        assert model.metadata["generation_config.json"] == {"eos_token_id": [2]}

    def test_a_configuration_that_is_not_understood_hides_no_tensor(self, tmp_path: Path) -> None:
        path = write(tmp_path, VALID["scalar"])
        (tmp_path / "config.json").write_text(json.dumps({"model_type": ["abacus"]}))
        model = read_model(path)
        assert model.config is None
        assert "abacus" in model.no_config
        assert list(model.tensors) == ["a"]

    def test_an_unknown_tokenizer_does_not_hide_the_tensors(self, tmp_path: Path) -> None:
        path = write(tmp_path, VALID["scalar"])
        (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordLevel"}}))
        model = read_model(path)
        assert model.tokenizer is None
        assert "'WordLevel'" in model.no_tokenizer

    def test_malformed_neighbours_are_refused_and_nothing_stays_open(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed: list[Path] = []
        close = MappedFile.close
        monkeypatch.setattr(MappedFile, "close", lambda self: (closed.append(self.path), close(self)))
        path = write(tmp_path, VALID["scalar"])
        (tmp_path / "config.json").write_text("[]")
        with pytest.raises(FormatError, match=r"config\.json: found a JSON list, expected an object"):
            read_model(path)
        assert closed == [path]
