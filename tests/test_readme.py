"""The README does what it says: its commands, its library example, its plugin, its map."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest

from realizar.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@attrs.frozen
class Code:
    """A fenced block."""

    language: str
    text: str

    @property
    def file_name(self) -> str:
        """The name in its first line, as `# name.py`."""
        first = self.text.splitlines()[0]
        return first.removeprefix("# ") if first.startswith("# ") else ""


BLOCKS = [Code(*match) for match in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]


def block(language: str, file_name: str = "") -> Code:
    (found,) = [b for b in BLOCKS if (b.language, b.file_name) == (language, file_name)]
    return found


class TestCommands:
    """The two lines, as a reader copies them."""

    RUN, TEST = (b.text for b in BLOCKS if b.language == "sh")

    def test_each_is_one_line(self):
        assert self.RUN.count("\n") == self.TEST.count("\n") == 1

    def test_the_first_installs_and_runs(self):
        venv, install, run = self.RUN.strip().split(" && ")
        assert venv == "python3 -m venv .venv"
        assert install == ".venv/bin/pip install -q ./core ./plugins/*/* '.[all]'"
        assert re.fullmatch(r'\.venv/bin/realizar run smollm2 "[^"]+"', run)

    def test_the_second_installs_and_tests(self):
        assert self.TEST.strip().split(" && ") == [
            "python3 -m venv .venv-test", ".venv-test/bin/pip install -q nox", ".venv-test/bin/nox"
        ]  # fmt: skip

    def test_the_check_types_what_the_reader_types(self):
        """`.ci/run` cuts the second line out of the README."""
        script = (ROOT / ".ci/run").read_text(encoding="utf-8")
        program = re.search(r"sed -n '([^']+)' README\.md", script)
        assert program is not None
        cut = subprocess.run(
            ["sed", "-n", program[1], str(ROOT / "README.md")], capture_output=True, text=True, check=True
        )
        assert cut.stdout == self.TEST


def test_the_table_has_every_command():
    named = set()
    for cell in re.findall(r"^\| (`realizar [^|]+)\|", README, re.MULTILINE):
        named |= {part.strip("` ").removeprefix("realizar ").split()[0] for part in cell.split(", ")}
    assert named == set(COMMANDS) - {"version"}


def test_the_environment_variables_are_all_there():
    documented = set(re.findall(r"^\| `(REALIZAR_\w+)` \|", README, re.MULTILINE))
    used: set[str] = set()
    for source in [*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/*/src/**/*.py")]:
        used |= set(re.findall(r"\bREALIZAR_[A-Z]+\b", source.read_text(encoding="utf-8")))
    assert documented == used - {"REALIZAR_API"}


def test_the_map_names_what_exists():
    tree = next(b.text for b in BLOCKS if b.language == "" and b.text.startswith("core/"))
    parents: list[str] = []
    for line in tree.splitlines():
        indent = (len(line) - len(line.lstrip())) // 2
        names = re.findall(r"(\S+/)(?=\s|$)", line.split("  ")[indent] if indent else line.split("   ")[0])
        parents[indent:] = names[:1]
        for name in re.findall(r"[\w.]+(?:/[\w.]+)*/", re.split(r"\s{3,}", line.strip())[0]):
            where = ROOT.joinpath(*parents[:indent], name)
            assert where.is_dir(), f"{line!r}: {where}"
    for folder in ("examples", "third_party", "oracles"):
        assert f"{folder}/" in tree and (ROOT / "tests" / folder).is_dir()


def test_the_reading_order_names_files():
    names = re.search(r"To read it: (.+?), then", README, re.DOTALL)
    assert names is not None
    for name in re.findall(r"`([^`]+)`", names[1]):
        assert (ROOT / "core/src/realizar" / name).is_file(), name


def test_the_named_sessions_exist():
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    for name in re.findall(r"nox -s (\w+)", README):
        assert f"def {name}(" in noxfile


@pytest.mark.model
def test_the_library_example(smollm2, environ):
    code = next(b.text for b in BLOCKS if b.language == "python" and not b.file_name)
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1. The Moon is a celestial body that orbits Earth.")
    assert len(ast.literal_eval(done.stdout[done.stdout.rindex("[") :])) == 2


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the README's plugin as an installer would leave it."""
    folder = tmp_path_factory.mktemp("hello")
    project = tomllib.loads(block("toml", "pyproject.toml").text)["project"]
    source = block("python", "realizar_hello.py")
    (folder / source.file_name).write_text(source.text, encoding="utf-8")
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    header = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
    (info / "METADATA").write_text("".join(f"{key}: {value}\n" for key, value in header.items()))
    ((name, module),) = project["entry-points"]["realizar"].items()
    (info / "entry_points.txt").write_text(f"[realizar]\n{name} = {module}\n")
    return folder


class TestPlugin:
    """The plugin of 20 lines, put where an installer would put it."""

    @pytest.fixture
    def run(self, installed, environ):
        def child(*line: str) -> subprocess.CompletedProcess[str]:
            path = os.pathsep.join([str(installed), *filter(None, [environ.get("PYTHONPATH")])])
            return subprocess.run(
                [sys.executable, *line], env=environ | {"PYTHONPATH": path}, cwd=installed, capture_output=True,
                text=True, timeout=300,
            )  # fmt: skip

        return child

    def test_its_project_file_is_what_an_installer_needs(self):
        toml = tomllib.loads(block("toml", "pyproject.toml").text)
        core = tomllib.loads((ROOT / "core/pyproject.toml").read_text(encoding="utf-8"))
        assert toml["build-system"] == core["build-system"]
        assert toml["tool"]["setuptools"]["py-modules"] == [block("python", "realizar_hello.py").file_name[:-3]]
        major, minor, *_ = core["project"]["version"].split(".")
        assert toml["project"]["dependencies"] == [f"realizar-core>={major}.{minor},<{major}.{int(minor) + 1}"]

    def test_it_is_short(self):
        lines = [line for line in block("python", "realizar_hello.py").text.splitlines()[1:] if line.strip()]
        assert len(lines) <= 20

    def test_it_is_listed(self, run):
        listed = json.loads(run("-m", "realizar", "plugins", "--json").stdout)["plugins"]
        (row,) = [row for row in listed if row["name"] == "hello"]
        assert (row["kind"], row["distribution"], row["version"], row["status"]) == (
            "backend", "realizar-hello", "1.0", "ok"
        )  # fmt: skip

    def test_it_runs(self, run, write_gguf):
        options = ("--raw", "--temperature", "0", "--max-tokens", "6", "--format", "json", "--backend")
        path = str(write_gguf("Q8_0"))
        answers = [
            json.loads(run("-m", "realizar", "run", path, "Hi", *options, backend).stdout)["token_ids"]
            for backend in ("hello", "numpy")
        ]
        assert len(answers[0]) == 6
        assert answers[0] == answers[1]

    def test_it_conforms(self, run, installed):
        test = block("python", "test_hello.py")
        (installed / test.file_name).write_text(test.text, encoding="utf-8")
        done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", test.file_name)
        assert done.returncode == 0, done.stdout
        assert re.search(r"[1-9]\d* passed", done.stdout)
