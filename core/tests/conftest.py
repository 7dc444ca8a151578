"""Distributions that look installed, and tiny models that a plugin beside this file reads."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from realizar.engine import LLM
from realizar.plugins import Host, host
from realizar.selection import build_tokenizer
from realizar.testing.vocabulary import tiny_tokenizer
from realizar.tokenizers import Tokenizer

settings.register_profile("realizar", deadline=None)  # a busy machine is no failure
settings.load_profile("realizar")

HEAD = """
import realizar
from realizar.backend import Availability, Backend
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.model import ModelFile
from realizar.tokenizers import TokenizerFactory
REALIZAR_API = (1, 0)

class F(Format):
    name = "{name}"
    def sniff(self, path, head): return 100 if head.startswith(b"{name}") else 0
    def open(self, path): return ModelFile(path, self.name, None, {{}}, None, {{}})

class B(Backend):
    name = "{name}"
    def load(self, tensor, ops): ...
    def make_cache(self, spec): ...
    @classmethod
    def probe(cls): return Availability(7, "seven")

class T(TokenizerFactory):
    name = "{name}"
    def supports(self, spec): return 100 if spec.model == "{name}" else 0
    def build(self, spec): return self
"""
"""Classes that a plugin's own text can register; {name} is the plugin's name."""

REGISTRATIONS = {
    "format": "@realizar.hookimpl\ndef realizar_formats(): return [F()]\n",
    "backend": "@realizar.hookimpl\ndef realizar_backends(): return [B]\n",
    "tokenizer": "@realizar.hookimpl\ndef realizar_tokenizers(): return [T()]\n",
}


_numbers = itertools.count()


class Site:
    """A folder of distributions, on sys.path for as long as the test lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self, name: str, *kinds: str, body: str = "", distribution: str | None = None, version: str = "1.0",
        head: str = HEAD,
    ) -> None:  # fmt: skip
        """A distribution with the entry point `name`, whose module registers `kinds` after `body`."""
        distribution = distribution or f"dist-{name}"
        body += "".join(REGISTRATIONS[kind] for kind in kinds)
        module = f"plugin_{next(_numbers)}"  # a name of its own, for modules stay imported
        (self.folder / f"{module}.py").write_text(head.format(name=name) + body)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[realizar]\n{name} = {module}\n")

    def host(self, **environ: str) -> Host:
        """A host that sees only core and these distributions."""
        found = importlib.metadata.distributions(path=[str(self.folder)])
        return Host([point for dist in found for point in dist.entry_points], environ)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty folder of distributions; its modules can be imported during the test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return Site(folder)


@pytest.fixture(scope="session")
def plugin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny_plugin` and the metadata that an installer would write."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copy(Path(__file__).with_name("tiny_plugin.py"), folder)
    info = folder / "realizar_tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: realizar-tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[realizar]\ntiny = tiny_plugin\n")
    return folder


@pytest.fixture
def plugins(plugin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Core and the tiny plugin are all there is, whatever else is installed."""
    monkeypatch.syspath_prepend(str(plugin_folder))
    monkeypatch.setenv("REALIZAR_PLUGINS", "tiny")
    monkeypatch.delenv("REALIZAR_BACKEND", raising=False)
    host.cache_clear()
    yield
    host.cache_clear()


@pytest.fixture(scope="session")
def write_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a tiny model file; options as `tiny_plugin` says."""
    folder = tmp_path_factory.mktemp("models")

    def write(**options: Any) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}.tiny"
        path.write_text(json.dumps(options))
        return path

    return write


@pytest.fixture
def open_llm(plugins: None, write_model: Callable[..., Path]) -> Iterator[Callable[..., LLM]]:
    """Opens tiny models (`options` are LLM's, `model` those of the file) and closes them afterwards."""
    opened: list[LLM] = []

    def make(model: dict[str, Any] | None = None, **options: Any) -> LLM:
        opened.append(LLM(write_model(**(model or {})), **({"backend": "numpy"} | options)))
        return opened[-1]

    yield make
    for llm in opened:
        llm.close()


@pytest.fixture
def llm(open_llm: Callable[..., LLM]) -> LLM:
    """A tiny model on the reference backend."""
    return open_llm()


@pytest.fixture
def tokenizer(plugins: None) -> Tokenizer:
    """One token a byte: id 3 + byte; 0 to 2 are control tokens, 2 ends a generation."""
    return build_tokenizer(tiny_tokenizer())


@pytest.fixture
def command_environ(plugin_folder: Path) -> dict[str, str]:
    """The environment in which a child process has the same plugins."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REALIZAR_")}
    return {**kept, "PYTHONPATH": str(plugin_folder), "REALIZAR_PLUGINS": "tiny"}


@pytest.fixture
def command(command_environ: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `realizar` in a child process."""

    def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "realizar", *args]
        return subprocess.run(
            line, **({"env": command_environ, "capture_output": True, "text": True, "timeout": 60} | options)
        )

    return run
