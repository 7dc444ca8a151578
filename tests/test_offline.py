"""Only `pull`, and a first `run` or `chat` of a model by name, touch the network or start a program that could."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "data" / "offline.py"
HASH = "0" * 64
URL = f"https://example.org/m.gguf#sha256={HASH}"
HUB = "hf://org/repo"
NUMPY = ("--backend", "numpy")

QUIET = [
    ["list"],
    ["plugins"],
    ["version"],
    ["explain", "kernel"],
    ["show", "smollm2"],
    ["show", HUB],
    ["show", URL],
    ["inspect", "GGUF"],
    ["inspect", "DIRECTORY"],
    ["tokenize", "GGUF", "Hello"],
    ["tokenize", "DIRECTORY", "Hello"],
    ["run", "GGUF", "Hello", "--raw", "--max-tokens", "2", *NUMPY],
    ["run", "DIRECTORY", "Hello", "--raw", "--max-tokens", "2", *NUMPY],
    ["chat", "GGUF", *NUMPY],
    ["bench", "GGUF", "-p", "4", "-n", "2", "-r", "1", *NUMPY],
    ["perplexity", "GGUF", "TEXT", "--window", "8", *NUMPY],
    ["warmup", "GGUF", *NUMPY],
]
"""These succeed."""

REFUSED = [
    [*command[:1], name, *command[1:]]
    for command in (["inspect"], ["tokenize", "Hello"], ["bench"], ["perplexity", "TEXT"], ["warmup"])
    for name in ("smollm2", HUB, URL)
]
"""These say what to type."""

ASKING = [[*line, *NUMPY] for name in ("smollm2", URL, HUB) for line in (["run", name, "Hello"], ["chat", name])]
ASKING += [["embed", "minilm", "Hello", *NUMPY]]
ASKING += [["pull", "smollm2"], ["pull", URL], ["pull", HUB]]
"""These would download; `rm` of what is not there does not."""


@pytest.fixture(scope="module")
def report(
    tmp_path_factory: pytest.TempPathFactory, write_gguf: Any, write_directory: Any
) -> dict[str, dict[str, Any]]:
    """What each command answered, and what it tried to reach, in a process that reaches nothing."""
    folder = tmp_path_factory.mktemp("offline")
    text = folder / "text"
    text.write_text("It was a bright cold day in April, and the clocks were striking thirteen.")
    lines = [*QUIET, *REFUSED, *ASKING, ["rm", "smollm2"], ["LLM", "GGUF"], ["LLM", "DIRECTORY"]]
    paths = {"GGUF": str(write_gguf()), "DIRECTORY": str(write_directory()), "TEXT": str(text)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], input=json.dumps([lines, paths]), capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("line", [*QUIET, ["LLM", "GGUF"], ["LLM", "DIRECTORY"]], ids=" ".join)
def test_it_works_without_a_network(report: dict[str, dict[str, Any]], line: list[str]) -> None:
    assert report[" ".join(line)] == {"error": "", "reached": []}


@pytest.mark.parametrize("line", REFUSED, ids=" ".join)
def test_it_names_the_command_that_downloads(report: dict[str, dict[str, Any]], line: list[str]) -> None:
    found = report[" ".join(line)]
    assert "has not been pulled yet; get it with `realizar pull " in found["error"]
    assert found["reached"] == []


@pytest.mark.parametrize("line", ASKING, ids=" ".join)
def test_it_would_have_downloaded(report: dict[str, dict[str, Any]], line: list[str]) -> None:
    found = report[" ".join(line)]
    assert found["reached"] and found["error"]


def test_rm_reaches_nothing(report: dict[str, dict[str, Any]]) -> None:
    assert "smollm2 is not in the cache" in report["rm smollm2"]["error"]
    assert report["rm smollm2"]["reached"] == []
