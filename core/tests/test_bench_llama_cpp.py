"""llama.cpp's programs, played by scripts that say what they were asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from realizar.bench import Case, LlamaCpp
from realizar.errors import RealizarError

SINGLE, BATCHED = Case(8, 0, threads=2, n_depth=64), Case(0, 4, threads=1, n_batch=3)
MODEL = Path("m.gguf")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts with a #! line")


@pytest.fixture
def folder(tmp_path):
    """A folder whose programs write their arguments into a file and answer as llama.cpp's do."""
    answers = {
        "llama-bench": '[{"build_commit": "c0ffee", "avg_ts": 123.5}]',
        "llama-batched-bench": '{"pp": 1, "speed_tg": 45.5}',
    }
    for name, answer in answers.items():
        program = tmp_path / name
        code = f"open({str(program)!r} + '.said', 'w').write(' '.join(sys.argv[1:]))"
        program.write_text(f"#!{sys.executable}\nimport sys\n{code}\nprint({answer!r})\n")
        program.chmod(0o755)
    return tmp_path


def test_one_sequence(folder):
    peer = LlamaCpp(folder, [SINGLE])
    assert peer.measure(MODEL, SINGLE, "F16") == 123.5
    assert peer.build == "c0ffee"
    said = (folder / "llama-bench.said").read_text()
    assert said == "-m m.gguf -t 2 -ctk f16 -ctv f16 -p 8 -n 0 -d 64 -r 1 -o json"


@pytest.mark.parametrize(("depth", "npp", "context"), [(0, 1, 768), (300, 300, 1536)])
def test_several_sequences(folder, depth, npp, context):
    case = Case(0, 4, threads=1, n_depth=depth, n_batch=3)
    assert LlamaCpp(folder / "llama-bench", [case]).measure(MODEL, case, "Q8_0") == 45.5
    expected = f"-m m.gguf -t 1 -ctk q8_0 -ctv q8_0 -npp {npp} -ntg 4 -npl 3 -c {context} --output-format jsonl"
    assert (folder / "llama-batched-bench.said").read_text() == expected


def test_a_cache_type_that_llama_bench_lacks(folder):
    with pytest.raises(RealizarError, match="llama-bench keeps no F32 cache: compare with --kv-type F16"):
        LlamaCpp(folder, [SINGLE]).measure(MODEL, SINGLE, "F32")


def test_found_on_the_path(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    assert LlamaCpp(None, [BATCHED]).measure(MODEL, BATCHED, "F16") == 45.5


def test_all_cores_unless_told(folder):
    LlamaCpp(folder, [SINGLE]).measure(MODEL, Case(8, 0), "F16")
    assert int((folder / "llama-bench.said").read_text().split()[3]) >= 1


@pytest.mark.parametrize("where", ["path", "folder"])
def test_missing(tmp_path, monkeypatch, where):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RealizarError, match=r"no program llama-bench .*github.com.*--compare llama.cpp=FOLDER"):
        LlamaCpp(None if where == "path" else tmp_path, [SINGLE])


def test_only_what_is_needed_must_be_there(folder):
    (folder / "llama-batched-bench").unlink()
    LlamaCpp(folder, [SINGLE])
    with pytest.raises(RealizarError, match="no program llama-batched-bench at"):
        LlamaCpp(folder, [SINGLE, BATCHED])


@pytest.mark.parametrize("body", ["echo 'cannot load m.gguf' >&2; exit 3", "echo cannot load m.gguf"])
def test_a_program_that_fails(folder, body):
    (folder / "llama-bench").write_text(f"#!/bin/sh\n{body}\n")
    with pytest.raises(RealizarError, match="llama-bench -m m.gguf .*expected JSON; it said: cannot load m.gguf"):
        LlamaCpp(folder, [SINGLE]).measure(MODEL, SINGLE, "F16")
