"""The record of what tests prove, and the tables made of it: neither may claim what was not shown."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
TESTS = """
import pytest

@pytest.mark.proves("numpy", family="{name}", format=("gguf", "apr"))
@pytest.mark.parametrize("name", ["llama", "llama, yarn", "bert"])
def test_families(name):
    assert name != "bert"

@pytest.mark.proves("nobody", type="{kind}", backend="numpy")
@pytest.mark.proves("nobody", type="{types}", task="quantize", test="test_all")
class TestTypes:
    types = ("F32", "Q4_0")

    @pytest.mark.parametrize("kind", ["F16"])
    def test_one(self, kind):
        pytest.skip("not here")

    def test_all(self):
        pass

@pytest.mark.proves("nobody", type="I8", task="quantize")
@pytest.mark.xfail(reason="known")
def test_known():
    assert False
"""


def run(tmp_path: Path, text: str, *args: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of pytest on a file with that text, and the record."""
    (tmp_path / "test_some.py").write_text(text)
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "proofs",
        "--proof-record",
        "r/p.jsonl",
    ]
    markers = ["-o", "markers=proves", "--rootdir", str(tmp_path), "-c", os.devnull]
    done = subprocess.run([*line, *markers, *args], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(FOLDER)})
    record = tmp_path / "r/p.jsonl"
    return done.returncode, [json.loads(line) for line in record.read_text().splitlines()]


def test_record(tmp_path: Path) -> None:
    code, found = run(tmp_path, TESTS)
    assert code == 1
    short = [
        (p.get("family") or p["type"], p.get("format") or p.get("task") or p["backend"], p["outcome"]) for p in found
    ]
    assert short == [
        ("llama", "gguf", "passed"), ("llama", "apr", "passed"), ("llama", "gguf", "passed"),
        ("llama", "apr", "passed"), ("bert", "gguf", "failed"), ("bert", "apr", "failed"), ("F16", "numpy", "skipped"),
        ("F32", "quantize", "passed"), ("Q4_0", "quantize", "passed"), ("I8", "quantize", "failed"),
    ]  # fmt: skip
    assert found[0]["version"] and not found[-1]["version"]
    assert found[0]["test"].endswith("test_some.py::test_families[llama]")


def test_declared(tmp_path: Path) -> None:
    code, found = run(tmp_path, TESTS, "--collect-only")
    assert code == 0
    assert len(found) == 10 and {proof["outcome"] for proof in found} == {"declared"}


@pytest.mark.parametrize("about", ["", ", familly='llama'"])
def test_a_wrong_marker_ends_the_run(about: str, tmp_path: Path) -> None:
    code, found = run(tmp_path, f"import pytest\n@pytest.mark.proves('x'{about})\ndef test_it(): pass\n")
    assert code == pytest.ExitCode.USAGE_ERROR and not found


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    """The script, for a README of its own."""
    loaded = runpy.run_path(str(FOLDER / "proof_table.py"))
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{loaded['BEGIN']}\n{loaded['END']}\nafter\n")
    loaded["main"].__globals__["README"] = readme
    return loaded


def proof(outcome: str = "passed", oracle: str = "theirs", **about: str) -> dict[str, str]:
    return {"oracle": oracle, "version": "1.2", "outcome": outcome, "test": "t", **about}


PROOFS = [
    proof(family="llama", format="gguf", backend="numpy"), proof(family="llama", format="gguf", oracle="others"),
    proof(family="bert", format="gguf"), proof("skipped", family="bert", format="apr"),
    proof(family="mpt", format="gguf"), proof("failed", family="mpt", format="apr"), proof(family="mpt", format="apr"),
]  # fmt: skip


def call(table: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, proofs: Any, *args: str) -> int:
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(proof) + "\n" for proof in proofs))
    monkeypatch.setattr(sys, "argv", ["proof_table.py", *args, str(tmp_path / "p.jsonl")])
    return table["main"]()  # type: ignore[no-any-return]


def test_only_what_passed_is_claimed(table: Any, monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    assert call(table, monkeypatch, tmp_path, PROOFS) == 0
    text = (tmp_path / "README.md").read_text()
    assert "| bert mpt | theirs |  |  |  |  |\n| llama | others, theirs |  |  | theirs |  |\n" in text
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "others 1.2, theirs 1.2." in text
    assert capsys.readouterr().out.count("not claimed") == 2
    assert table["read_claims"](text) == table["proven"](PROOFS)


def test_claims_need_a_test(table: Any, monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    assert call(table, monkeypatch, tmp_path, PROOFS, "--check") == 0
    call(table, monkeypatch, tmp_path, PROOFS)
    assert call(table, monkeypatch, tmp_path, PROOFS, "--check") == 0
    assert call(table, monkeypatch, tmp_path, PROOFS[1:], "--check") == 1
    assert "claims llama in numpy against theirs; no test declares it" in capsys.readouterr().out


def test_a_readme_without_tables_is_wrong(table: Any, monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing")
    assert call(table, monkeypatch, tmp_path, PROOFS, "--check") == 1
