"""A pytest plugin that writes down what tests prove: `PYTHONPATH=tests pytest -p proofs --proof-record FILE`.

A test says `@pytest.mark.proves("transformers", family="{name}", format="gguf")`: the oracle, and what is compared with
it. Texts in braces stand for a parameter of the test or an attribute of its class; several values give several proofs,
none give none: a class may be marked for those of its tests that have the parameter, or with `test` for one by name.
FILE gets a line of JSON for each proof: what is proven, the test and its outcome, "declared" under --collect-only.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ASPECTS = ("family", "type", "tokenizer", "format", "backend", "vocabulary", "task")
"""What a proof may be about: the keywords of the marker."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proof-record", type=Path, help="file for what the tests prove, one line of JSON each")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--proof-record")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        config.pluginmanager.register(ProofRecord(path.resolve()))


class ProofRecord:
    """A new file of proofs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("", encoding="utf-8")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            if session.config.option.collectonly:
                self._write(item, "declared")
            else:
                list(proofs(item))  # a marker that is wrong ends the run before it begins

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if call.when == "call" or report.outcome != "passed":
            self._write(item, "failed" if hasattr(report, "wasxfail") else report.outcome)
        return report

    def _write(self, item: pytest.Item, outcome: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            for proof in proofs(item):
                file.write(json.dumps({**proof, "outcome": outcome, "test": item.nodeid}) + "\n")


def proofs(item: pytest.Item) -> Iterator[dict[str, str]]:
    """{"oracle": ..., "version": ..., an aspect: its value, ...} of each proof that a test declares."""
    for marker in item.iter_markers("proves"):
        (oracle,), about = marker.args, dict(marker.kwargs)
        if about.pop("test", item.originalname) != item.originalname:  # type: ignore[attr-defined]
            continue
        if not about or about.keys() - set(ASPECTS):
            raise pytest.UsageError(f"{item.nodeid}: proves what? expected some of {ASPECTS}, found {list(about)}")
        for values in itertools.product(*(_values(item, text) for text in about.values())):
            yield {"oracle": oracle, "version": _version(oracle), **dict(zip(about, values, strict=True))}


def _values(item: pytest.Item, text: str | tuple[str, ...]) -> list[str]:
    """What a keyword of the marker stands for in this test; a variant after a comma belongs to what is before it."""
    if not isinstance(text, str):
        return [value for part in text for value in _values(item, part)]
    if not (match := re.fullmatch(r"\{(\w+)\}", text)):
        return [text]
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    value = parameters.get(match[1], getattr(getattr(item, "cls", None), match[1], ()))
    return [one.split(",")[0] for one in ([value] if isinstance(value, str) else value)]


def _version(oracle: str) -> str:
    """Of the installed package of that name, empty for what is none."""
    try:
        return metadata.version(oracle)
    except metadata.PackageNotFoundError:
        return ""
