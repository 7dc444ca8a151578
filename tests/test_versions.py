"""One version, and names that follow from one word: folder, distribution, module, entry point, extra."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = {path.name: path for path in sorted(ROOT.glob("plugins/*/*")) if path.is_dir()}
FOLDERS = [ROOT, ROOT / "core", *PLUGINS.values()]


def read(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


META = read(ROOT)
VERSION: str = META["project"]["version"]
EXTRAS: dict[str, list[str]] = META["project"]["optional-dependencies"]


def test_there_are_plugins():
    assert {"gguf", "safetensors", "apr", "bpe", "sentencepiece", "wordpiece", "numba"} <= set(PLUGINS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_all_distributions_agree(folder):
    project = read(folder)["project"]
    assert project["version"] == VERSION
    assert project["requires-python"] == META["project"]["requires-python"]
    assert project["license"] == "MIT"
    assert read(folder)["build-system"] == META["build-system"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_distribution_has_readme_and_licence(folder):
    assert (folder / read(folder)["project"]["readme"]).read_text(encoding="utf-8").startswith("# ")
    assert (folder / "LICENSE").read_text(encoding="utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", PLUGINS)
def test_a_plugin_has_one_word(word):
    project = read(PLUGINS[word])["project"]
    assert project["name"] == f"realizar-{word}"
    assert project["entry-points"] == {"realizar": {word: f"realizar_{word}.plugin"}}
    assert (PLUGINS[word] / "src" / f"realizar_{word}" / "plugin.py").is_file()
    assert EXTRAS[word][0] == f"realizar-{word}=={VERSION}"


@pytest.mark.parametrize("word", PLUGINS)
def test_a_plugin_depends_on_core_of_the_same_minor_and_on_no_sibling(word):
    major, minor, *_ = VERSION.split(".")
    dependencies = read(PLUGINS[word])["project"]["dependencies"]
    ours = [name for name in dependencies if name.startswith("realizar")]
    assert ours == [f"realizar-core>={major}.{minor},<{major}.{int(minor) + 1}"]


def test_core_depends_on_nothing_of_ours():
    assert not [name for name in read(ROOT / "core")["project"]["dependencies"] if name.startswith("realizar")]


def test_the_root_pins_core_and_offers_every_plugin():
    assert META["project"]["dependencies"] == [f"realizar-core=={VERSION}"]
    assert set(EXTRAS) - {"all", "cuda13", "hub", "structured"} == set(PLUGINS)
    for extra in ("hub", "structured"):
        assert EXTRAS[extra] == [f"realizar-core[{extra}]=={VERSION}"]
    (everything,) = EXTRAS["all"]
    named = re.fullmatch(r"realizar\[(.+)\]", everything)
    assert named is not None
    assert set(named[1].split(",")) == {*PLUGINS, "hub", "structured"} - {"cuda"}


def test_the_workspace_has_every_distribution():
    uv = META["tool"]["uv"]
    assert uv["workspace"]["members"] == ["core", "plugins/*/*"]
    assert set(uv["sources"]) == {"realizar-core", *(f"realizar-{word}" for word in PLUGINS)}


def test_coverage_and_imports_know_every_distribution():
    assert set(META["tool"]["coverage"]["paths"]) == {"core", *PLUGINS}
    assert set(META["tool"]["ruff"]["lint"]["isort"]["known-first-party"]) == {
        "realizar", *(f"realizar_{word}" for word in PLUGINS)
    }  # fmt: skip


def test_only_distributions_lie_in_the_plugin_folders():
    """`pip install ./plugins/*/*` takes everything that it finds there."""
    for entry in ROOT.glob("plugins/*/*"):
        assert (entry / "pyproject.toml").is_file(), f"{entry} is no distribution"
