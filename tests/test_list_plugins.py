"""`realizar --list-plugins` with all our distributions, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from realizar.architectures.families import FAMILIES
from realizar.hookspecs import API

OURS = {
    ("backend", "numpy"): "realizar-core",
    ("backend", "numpy64"): "realizar-core",
    **{("architecture", family.name): "realizar-core" for family in FAMILIES},
    ("backend", "numba"): "realizar-numba",
    ("backend", "cuda"): "realizar-cuda",
    ("format", "gguf"): "realizar-gguf",
    ("format", "imatrix"): "realizar-gguf",
    ("format", "safetensors"): "realizar-safetensors",
    ("format", "apr"): "realizar-apr",
    ("server", "aiohttp"): "realizar-aiohttp",
    ("tokenizer", "bpe"): "realizar-bpe",
    ("tokenizer", "sentencepiece"): "realizar-sentencepiece",
    ("tokenizer", "wordpiece"): "realizar-wordpiece",
}


@pytest.fixture
def listed(environ):
    """The parsed `--json` list under some environment variables."""

    def run(*options: str, **variables: str) -> dict:
        line = [sys.executable, "-m", "realizar", "--list-plugins", "--json", *options]
        done = subprocess.run(line, env=environ | variables, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def by_name(answer: dict) -> dict:
    return {(row["kind"], row["name"]): row for row in answer["plugins"]}


def test_all_of_ours_are_listed_and_work(listed):
    answer = listed()
    assert answer["api"] == ".".join(map(str, API))
    rows = by_name(answer)
    for key, distribution in OURS.items():
        assert rows[key]["distribution"] == distribution
        assert rows[key]["version"] == version(distribution)
        allowed = {"ok", "unavailable"} if key == ("backend", "cuda") else {"ok"}  # it needs cupy and a GPU
        assert rows[key]["status"] in allowed, rows[key]["detail"]
    assert [key for key, row in rows.items() if row["chosen"]] == [("backend", "numba")]
    assert "thread" in rows["backend", "numba"]["detail"]


def test_nothing_of_ours_fails_strictly(listed):
    listed("--strict", REALIZAR_PLUGINS="gguf,safetensors,apr,bpe,sentencepiece,wordpiece,numba")


def test_the_allow_list(listed):
    assert set(by_name(listed(REALIZAR_PLUGINS=""))) == {key for key, d in OURS.items() if d == "realizar-core"}
    rows = by_name(listed(REALIZAR_PLUGINS="gguf"))
    assert ("format", "gguf") in rows and ("tokenizer", "bpe") not in rows
    assert [key for key, row in rows.items() if row["chosen"]] == [("backend", "numpy")]


def test_a_backend_by_name(listed):
    rows = by_name(listed(REALIZAR_BACKEND="numpy"))
    assert [key for key, row in rows.items() if row["chosen"]] == [("backend", "numpy")]


def test_a_backend_that_cannot_run_here(environ):
    line = [sys.executable, "-m", "realizar", "plugins", "--json"]
    environ |= {"REALIZAR_ISA": "abacus"}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60)
    row = by_name(json.loads(done.stdout))["backend", "numba"]
    assert row["status"] == "unavailable"
    assert "REALIZAR_ISA=abacus" in row["detail"]


def test_listing_imports_nothing_heavy(environ):
    code = (
        "import sys\n"
        "import realizar.cli.main\n"
        "sys.argv = ['realizar', '--list-plugins']\n"
        "try: realizar.cli.main.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'numba', 'cupy', 'aiohttp'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_table(environ):
    line = [sys.executable, "-m", "realizar", "--list-plugins"]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60, check=True)
    rows = [row.split() for row in done.stdout.splitlines()]
    assert rows[0] == ["NAME", "KIND", "DISTRIBUTION", "STATUS", "DETAIL"]
    assert any(row[:5] == ["gguf", "format", "realizar-gguf", version("realizar-gguf"), "ok"] for row in rows)
    assert "backend numba would be chosen: highest score" in done.stdout
