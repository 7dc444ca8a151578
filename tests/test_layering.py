"""Who may import whom, and how long files may be; read from the source, not from what happens to be installed."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core/src/realizar"
PLUGINS = {path.name: path for path in sorted(ROOT.glob("plugins/*/*")) if path.is_dir()}
SOURCES = sorted([*CORE.rglob("*.py"), *(f for path in PLUGINS.values() for f in (path / "src").rglob("*.py"))])
TESTS = sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("core/tests/**/*.py"), *ROOT.glob("plugins/*/*/tests/**/*.py")])
LIGHT = {"__future__", "collections", "pathlib", "typing", "realizar"}
"""What a plugin.py may import beside its own package."""


def imports(path: Path) -> set[str]:
    """The absolute modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check():
    assert len(SOURCES) > 80
    assert "realizar_gguf" in tops(PLUGINS["gguf"] / "src/realizar_gguf/plugin.py")


@pytest.mark.parametrize("word", PLUGINS)
def test_plugins_import_core_and_themselves(word):
    for path in (PLUGINS[word] / "src").rglob("*.py"):
        ours = {name for name in tops(path) if name.startswith("realizar")}
        assert ours <= {"realizar", f"realizar_{word}"}, relative(path)


def test_core_imports_no_plugin():
    for path in CORE.rglob("*.py"):
        assert not {name for name in tops(path) if name.startswith("realizar_")}, relative(path)


def test_only_two_files_know_pluggy():
    assert {relative(path) for path in SOURCES if "pluggy" in tops(path)} == {
        "core/src/realizar/plugins.py",
        "core/src/realizar/hookspecs.py",
    }


def test_nobody_imports_tests():
    for path in [*SOURCES, *TESTS]:
        assert not {name for name in imports(path) if "tests" in name.split(".")}, relative(path)


def test_only_the_kit_imports_what_only_tests_need():
    for path in SOURCES:
        if "testing" not in path.parts:
            assert not tops(path) & {"pytest", "hypothesis"}, relative(path)
            assert not {name for name in imports(path) if name.startswith("realizar.testing")}, relative(path)


@pytest.mark.parametrize(
    "package", ["engine", "sampling", "chat", "architectures", "quant", "reference", "store", "bench"]
)
def test_core_knows_nothing_of_its_command_line(package):
    for path in (CORE / package).rglob("*.py"):
        assert not {name for name in imports(path) if name.startswith("realizar.cli")}, relative(path)
        assert not tops(path) & {"click", "rich"}, relative(path)


@pytest.mark.parametrize("word", PLUGINS)
def test_plugin_files_are_short_and_light(word):
    path = PLUGINS[word] / f"src/realizar_{word}/plugin.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    assert tops(path) <= {*LIGHT, f"realizar_{word}"}


@pytest.mark.parametrize("word", PLUGINS)
def test_importing_a_plugin_is_light(word):
    heavy = "{'numba', 'cupy', 'aiohttp', 'torch', 'jinja2', 'scipy'}"
    code = f"import sys, realizar_{word}.plugin; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def lengths(paths: list[Path]) -> dict[str, int]:
    return {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}


def test_files_are_short():
    for path, length in lengths([*SOURCES, *TESTS, ROOT / "noxfile.py"]).items():
        assert length <= 500, f"{path} has {length} lines"
    assert statistics.median(lengths(SOURCES).values()) < 150
    assert statistics.median(lengths(TESTS).values()) < 200


def test_public_things_have_docstrings():
    bare: list[str] = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if ast.get_docstring(tree) is None:
            bare.append(relative(path))
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                if ast.get_docstring(node) is None:
                    bare.append(f"{relative(path)}: {node.name}")
    assert not bare
