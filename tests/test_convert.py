"""`realizar convert`, `quantize` and `verify` across formats: on tiny models, on SmolLM2, and on damaged files."""

from __future__ import annotations

import contextlib
import filecmp
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from realizar import LLM, SamplingParams
from realizar.backend import BackendOptions
from realizar.cli.main import cli
from realizar.conversion.verification import verify
from realizar.dtypes import DTYPES
from realizar.engine.loader import load_model
from realizar.selection import open_model
from realizar_gguf.shard import open_shard
from realizar_gguf.writer import write_gguf as write

GREEDY = SamplingParams(temperature=0, max_tokens=6)


@pytest.fixture
def invoke(monkeypatch):
    """Runs a command with the network blocked."""

    def refuse(*args: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    def run(*args: object):
        return CliRunner().invoke(cli, [str(arg) for arg in args])

    return run


@pytest.fixture
def succeed(invoke):
    def run(*args: object) -> str:
        result = invoke(*args)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    return run


def tokens(path: Path) -> tuple[int, ...]:
    with LLM(path, backend="numpy", max_model_len=64) as llm:
        return tuple(llm.generate("one two", GREEDY).token_ids)


def contents(path: Path) -> tuple[dict[str, bytes], dict[str, object]]:
    """Bytes of tensors by GGUF's names, and the keys."""
    shard = open_shard(path)
    return {info.name: shard.read(info).tobytes() for info in shard.tensors}, dict(shard.metadata)


@pytest.fixture
def known_words(write_gguf):
    """A tiny GGUF model whose pre-tokenizer tokenizer.json can spell."""

    def make(weight_type: str = "F32", **options) -> Path:
        path = write_gguf(weight_type, **options)
        shard = open_shard(path)
        tensors = [(info.name, info.shape, info.dtype, shard.read(info).copy()) for info in shard.tensors]
        return write(path, {**shard.metadata, "tokenizer.ggml.pre": "llama-bpe"}, tensors)[0]

    return make


def test_there_and_back(known_words, succeed, tmp_path):
    first = known_words()
    assert "safetensors" in succeed("convert", first, tmp_path / "m", "--to", "safetensors")
    succeed("convert", tmp_path / "m", tmp_path / "b.gguf")
    one, other = contents(first), contents(tmp_path / "b.gguf")
    assert one[0] == other[0]
    assert one[1] == {key: value for key, value in other[1].items() if key != "general.file_type"}
    assert tokens(first) == tokens(tmp_path / "m") == tokens(tmp_path / "b.gguf")
    assert succeed("verify", tmp_path / "m").endswith("MB\n")


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_other_types(dtype, known_words, succeed, tmp_path):
    first = known_words()
    succeed("convert", first, tmp_path / "m", "--to", "safetensors", "--dtype", dtype, "--threads", 2)
    succeed("convert", first, tmp_path / "b.gguf", "--dtype", dtype)
    one, other = open_model(tmp_path / "m"), open_model(tmp_path / "b.gguf")
    assert {t.dtype.name for t in one.tensors.values()} == {"F32", dtype}
    for name, tensor in one.tensors.items():
        assert tensor.read().tobytes() == other.tensors[name].read().tobytes()
        np.testing.assert_allclose(
            tensor.to_float32(), open_model(first).tensors[name].to_float32(), rtol=2**-8, atol=1e-7
        )


def test_quantize_and_run(known_words, succeed, tmp_path):
    first = known_words(hidden_size=256, head_dim=64, intermediate_size=256)
    said = succeed("quantize", first, tmp_path / "q.gguf", "q6_k")
    assert "15 Q6_K" in said
    assert len(tokens(tmp_path / "q.gguf")) == 6
    assert open_model(tmp_path / "q.gguf").metadata["general.file_type"] == 18
    succeed("quantize", tmp_path / "q.gguf", tmp_path / "r.gguf", "Q8_0", "--pure")
    assert {t.dtype.name for t in open_model(tmp_path / "r.gguf").tensors.values()} == {"F32", "Q8_0"}


def test_importance(write_gguf, succeed, tmp_path):
    first = write_gguf(hidden_size=256, head_dim=64, intermediate_size=256)
    names = [info.name for info in open_shard(first).tensors if len(info.shape) == 2]
    importance = np.geomspace(1, 100, 256, dtype=np.float32)[np.newaxis]
    entries = [(f"{name}.in_sum2", (1, 256), DTYPES["F32"], importance) for name in names]
    entries += [(f"{name}.counts", (1, 1), DTYPES["F32"], np.ones((1, 1), np.float32)) for name in names]
    write(tmp_path / "i.gguf", {"general.type": "imatrix"}, entries)
    succeed("quantize", first, tmp_path / "a.gguf", "Q4_K_S")
    succeed("quantize", first, tmp_path / "b.gguf", "Q4_K_S", "--imatrix", tmp_path / "i.gguf")
    name = "model.layers.1.mlp.up_proj.weight"
    exact = open_model(first).tensors[name].to_float32()
    a, b = (open_model(tmp_path / f"{x}.gguf").tensors[name].to_float32() for x in "ab")
    assert (importance * np.square(b - exact)).sum() < (importance * np.square(a - exact)).sum()


def test_prepacked(write_gguf, succeed, tmp_path):
    """Copies for numba: their cost is told, they are what numba would have made, and no other format gets them."""
    source, copy = write_gguf("Q4_1"), tmp_path / "copy.apr"
    said = succeed("convert", source, copy, "--prepack", "numba")
    assert re.search(r"copy\.apr: prepacked for numba-1: 15 copies, 0\.\d MB beside 0\.\d MB", said)
    assert json.loads(succeed("inspect", copy, "--format", "json"))["prepacked"]["numba-1"]["tensors"] == 15
    assert "note: copies" not in succeed("verify", copy)
    with contextlib.ExitStack() as opened:
        loaded = [load_model(path, BackendOptions(threads=1), backend="numba") for path in (source, copy)]
        for model in loaded:
            opened.callback(model.backend.close)
        repacked, copied = (model.weights for model in loaded)
        for name, weight in repacked.items():
            same, found = getattr(weight, "data", weight), getattr(copied[name], "data", copied[name])
            assert bytes(same) == bytes(found), name
    succeed("convert", copy, tmp_path / "back.gguf")
    assert contents(tmp_path / "back.gguf")[0] == contents(source)[0]


class TestRefusals:
    @pytest.mark.parametrize(
        "line, said",
        [
            (("convert", "{q}", "{out}", "--to", "safetensors"), "found Q4_1, which safetensors cannot hold"),
            (("convert", "{q}", "{out}"), "no format to write; name one with --to, known: apr, gguf"),
            (("convert", "{q}", "{q}"), "is there already; give --force"),
            (("convert", "{q}", "{out}.gguf", "--dtype", "Q8_0"), "realizar quantize SRC DST Q8_0"),
            (("quantize", "{q}", "{out}.gguf", "Q9"), "unknown type 'Q9'"),
            (("quantize", "{q}", "{out}", "Q8_0", "--to", "safetensors"), "Q8_0, which safetensors cannot hold"),
            (("convert", "{out}.safetensors", "{out}.gguf"), "no such file"),
            (("convert", "{q}", "{out}.gguf", "--prepack", "numba"), "gguf files cannot hold a backend's copy"),
            (("convert", "{q}", "{out}.apr", "--prepack", "numpy"), "backend 'numpy' has no layout of its own"),
        ],
    )
    def test_nothing_is_left_behind(self, line, said, write_gguf, invoke, tmp_path):
        path = write_gguf("Q4_1")
        result = invoke(*(part.format(q=path, out=tmp_path / "out") for part in line))
        assert result.exit_code != 0
        assert said in str(result.exception) + result.output
        assert list(tmp_path.iterdir()) == []

    def test_a_number_that_f16_cannot_hold_leaves_nothing(self, write_gguf, invoke, tmp_path):
        shard = open_shard(write_gguf())
        tensors = [(info.name, info.shape, info.dtype, shard.read(info).copy()) for info in shard.tensors]
        tensors[-2][3].flat[-1] = 1e9
        source = tmp_path / "a" / "big.gguf"
        source.parent.mkdir()
        write(source, dict(shard.metadata), tensors)
        result = invoke("convert", source, tmp_path / "b.gguf", "--dtype", "F16")
        assert "which F16 cannot hold" in str(result.exception)
        assert [path.name for path in tmp_path.iterdir()] == ["a"]


class TestVerify:
    """Damage is planted in a file that is sound."""

    def damaged(self, path: Path, name: str, at: int, planted: bytes) -> Path:
        data = bytearray(path.read_bytes())
        info = next(info for info in open_shard(path).tensors if info.name == name)
        data[info.offset + at : info.offset + at + len(planted)] = planted
        path.with_name("damaged.gguf").write_bytes(data)
        return path.with_name("damaged.gguf")

    def test_sound(self, write_gguf, succeed):
        report = json.loads(succeed("verify", write_gguf("Q4_K"), "--format", "json"))
        assert report["findings"] == []
        assert report["num_tensors"] == 20

    def test_nan_and_infinity_are_both_listed(self, write_gguf, invoke):
        path = self.damaged(write_gguf(), "blk.0.ffn_up.weight", 256, b"\0\0\xc0\x7f")
        path = self.damaged(path, "blk.1.ffn_norm.weight", 0, b"\0\0\x80\x7f")
        result = invoke("verify", path)
        assert result.exit_code == 1
        assert "blk.0.ffn_up.weight: 1 NaN and 0 infinite of F32, the first in row 1" in result.output
        assert "blk.1.ffn_norm.weight: 0 NaN and 1 infinite of F32, the first in row 0" in result.output
        assert "2 findings" in result.output

    @pytest.mark.parametrize("kind", ["Q8_0", "Q4_K", "Q6_K"])
    def test_a_scale_that_is_no_number(self, kind, write_gguf):
        at = 208 if kind == "Q6_K" else 0
        path = self.damaged(write_gguf(kind), "blk.0.ffn_up.weight", at, b"\0\x7e")
        (finding,) = verify(path).findings
        assert f"{DTYPES[kind].block_size} NaN and 0 infinite of {kind}, the first in row 0" in finding

    def test_a_file_cut_short(self, write_gguf, invoke, tmp_path):
        (tmp_path / "a.gguf").write_bytes(write_gguf().read_bytes()[:-1000])
        result = invoke("verify", tmp_path / "a.gguf")
        assert result.exit_code == 1
        assert "is the download complete?" in result.output

    def test_shapes_and_names(self, write_gguf, tmp_path):
        shard = open_shard(write_gguf())
        kept = [(i.name, i.shape, i.dtype, shard.read(i)) for i in shard.tensors if i.name != "blk.1.ffn_up.weight"]
        odd = ("blk.1.odd.weight", (2, 2), DTYPES["F32"], np.ones((2, 2), np.float32))
        write(tmp_path / "a.gguf", dict(shard.metadata), [*kept, odd])
        report = verify(tmp_path / "a.gguf")
        assert any("mlp.up_proj" in finding for finding in report.findings)
        write(tmp_path / "b.gguf", dict(shard.metadata), [
            *((i.name, i.shape, i.dtype, shard.read(i)) for i in shard.tensors), odd])  # fmt: skip
        (finding,) = verify(tmp_path / "b.gguf").findings
        assert "blk.1.odd.weight" in finding

    def test_no_such_file(self, invoke):
        assert invoke("verify", "nowhere.gguf").exit_code == 1


@pytest.mark.model
def test_smollm2_through_safetensors(smollm2, succeed, tmp_path):
    """F32 GGUF to Safetensors to GGUF: the same file, byte for byte."""
    first, middle, last = tmp_path / "a.gguf", tmp_path / "m", tmp_path / "b.gguf"
    succeed("convert", smollm2, first, "--dtype", "F32")
    succeed("convert", first, middle, "--to", "safetensors")
    succeed("convert", middle, last)
    assert filecmp.cmp(first, last, shallow=False)
    original, found = dict(open_shard(smollm2).metadata), dict(open_shard(last).metadata)
    assert found == {**original, "general.file_type": 0}


@pytest.mark.model
@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_a_real_file_is_written_again_as_it_is(name, request, succeed, tmp_path):
    source = request.getfixturevalue(name)
    succeed("convert", source, tmp_path / "a.gguf")
    assert filecmp.cmp(source, tmp_path / "a.gguf", shallow=False)
    assert "0 findings" in succeed("verify", source)
