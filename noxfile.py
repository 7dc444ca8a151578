"""Every check of the project, each in an environment of its own. `nox` runs the default list; `nox -s NAME` one."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.sessions = [
    "lint", "types", "dev", "tests", "conformance", "third_party", "extras", "coverage", "build",
]  # fmt: skip
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
PLUGINS = {path.name: path.relative_to(ROOT) for path in sorted(ROOT.glob("plugins/*/*")) if path.is_dir()}
"""Word -> folder."""
EVERYTHING = ["./core[testing]", *(f"./{folder}" for folder in PLUGINS.values()), ".[all]"]
PROOFS = ROOT / ".proofs"
PLUGIN_PATH = {"PYTHONPATH": str(ROOT / "tests")}
"""Where pytest finds `proofs`."""
MUTATED = [
    "gguf", "safetensors", "apr", "huggingface", "tokenizer_files", "pipeline", "sentencepiece", "wordpiece",
    "sampling", "scheduling",
]  # fmt: skip
"""Targets of `tests/mutants.py`."""
FUZZED = ["gguf", "safetensors", "apr", "tokenizer_json"]
"""Targets of `tests/fuzz.py`."""


def _pytest(session: nox.Session, words: Iterable[str], *args: str) -> None:
    """Run pytest under coverage of core and those plugins; the data of all sessions is joined by `coverage`."""
    data = ROOT / ".coverage-data"
    data.mkdir(exist_ok=True)
    packages = ",".join(["realizar", *(f"realizar_{word}" for word in words)])
    file = data / _file_name(session)
    session.run(
        "coverage", "run", f"--data-file={file}", f"--source={packages}", "-m", "pytest", *_recorded(session), *args,
        *session.posargs, env=PLUGIN_PATH,
    )  # fmt: skip


def _file_name(session: nox.Session) -> str:
    return session.name.replace("(", "-").rstrip(")")


def _recorded(session: nox.Session) -> list[str]:
    """Arguments with which pytest writes down what the tests prove; needs PLUGIN_PATH."""
    return ["-p", "proofs", "--proof-record", str(PROOFS / f"{_file_name(session)}.jsonl")]


@nox.session
def dev(session: nox.Session) -> None:
    """An editable environment with everything, in .nox/dev."""
    editable = ["./core[testing]", *(f"./{folder}" for folder in PLUGINS.values()), ".[all]"]
    session.install(*(arg for target in editable for arg in ("-e", target)))
    session.run("realizar", "--list-plugins", "--strict")


@nox.session
@nox.parametrize("word", ["core", *PLUGINS, "all"], ids=["core", *PLUGINS, "all"])
def tests(session: nox.Session, word: str) -> None:
    """Tests of one distribution with only core and it installed, so that an undeclared dependency fails.

    The word "all" installs everything and runs the tests across distributions: the README, the layering, the model.
    """
    if word == "all":
        session.install("coverage", *EVERYTHING)
        _pytest(session, PLUGINS, "tests", "--ignore=tests/oracles", "--ignore=tests/third_party")
        return
    folder = Path("core") if word == "core" else PLUGINS[word]
    extras = {"core": "testing,hub,structured", "aiohttp": "testing,structured"}
    core = f"./core[{extras.get(word, 'testing')}]"
    session.install("coverage", *([] if word == "core" else [f"./{folder}"]), core)
    _pytest(session, [] if word == "core" else [word], f"{folder}/tests", "--ignore-glob=*/test_conformance.py")


@nox.session
def conformance(session: nox.Session) -> None:
    """The kit of `realizar.testing` on our own plugins."""
    session.install("coverage", *EVERYTHING)
    _pytest(session, PLUGINS, *(f"{folder}/tests/test_conformance.py" for folder in ["core", *PLUGINS.values()]))


@nox.session
def third_party(session: nox.Session) -> None:
    """Four distributions of strangers: listed, run and conforming."""
    session.install(*EVERYTHING)
    session.install(
        *(f"./{path.parent.relative_to(ROOT)}" for path in sorted(ROOT.glob("tests/third_party/*/pyproject.toml")))
    )
    session.run("realizar", "--list-plugins")
    session.run("pytest", "tests/third_party", *session.posargs)


@nox.session
def extras(session: nox.Session) -> None:
    """The promised user command, from a wheelhouse."""
    wheelhouse = ROOT / "dist" / "wheelhouse"
    shutil.rmtree(wheelhouse, ignore_errors=True)
    session.run(
        "pip", "wheel", "-q", "--no-deps", "-w", str(wheelhouse), "./core", *(f"./{f}" for f in PLUGINS.values()), "."
    )
    session.install("--find-links", str(wheelhouse), "realizar[all]", "pytest")
    session.run("pytest", "tests/test_wheels.py", env={"REALIZAR_WHEELHOUSE": str(wheelhouse)})
    session.run("realizar", "--list-plugins", "--strict")


@nox.session
def coverage(session: nox.Session) -> None:
    """Join the coverage of the sessions before and require 90 % of lines."""
    session.install("coverage")
    files = [str(path) for path in sorted((ROOT / ".coverage-data").iterdir())]
    session.run("coverage", "combine", "--keep", "-q", "--data-file=.coverage", *files)
    session.run("coverage", "report", "--data-file=.coverage")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, complexity and formatting."""
    session.install("ruff>=0.14")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict on core."""
    session.install("mypy>=1.18", "types-regex", "./core[testing,bench,structured]")
    session.run("mypy")


@nox.session
def build(session: nox.Session) -> None:
    """Source distributions and wheels of everything, in dist/."""
    session.install("build")
    for folder in ["core", *PLUGINS.values(), "."]:
        session.run("python", "-m", "build", "-o", "dist", str(folder), silent=True)


@nox.session
def oracles(session: nox.Session) -> None:
    """Comparisons with torch, transformers, gguf, safetensors, tokenizers, sentencepiece and llama.cpp's vectors.

    Here every test of the tree can be collected, so here the README's tables are held against what tests declare.
    """
    session.install(
        *EVERYTHING,
        "torch==2.13.0",
        "transformers",
        "tokenizers",
        "sentencepiece",
        "gguf",
        "safetensors",
        "ml_dtypes",
        "protobuf",  # with which transformers reads a SentencePiece model
        "jsonschema[format]",
        "openai",
        "anthropic",
        "ollama",
        "schemathesis",
    )
    sources = ROOT / ".nox" / "llama_cpp"
    if not sources.exists():
        session.run(
            "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", "llama-cpp-python==0.3.36",
            "-d", str(sources),
        )  # fmt: skip
        shutil.unpack_archive(next(sources.glob("*.tar.gz")), sources)
    models = next(sources.glob("*/vendor/llama.cpp/models"))
    environ = {"REALIZAR_LLAMA_CPP_MODELS": str(models), **PLUGIN_PATH}
    session.run("pytest", *_recorded(session), "tests/oracles", *session.posargs, env=environ)
    declared = str(PROOFS / "declared.jsonl")
    folders = ["tests", "core/tests", *(f"{folder}/tests" for folder in PLUGINS.values())]
    collect = ["--collect-only", "-qq", "-p", "proofs", "--proof-record", declared, "--ignore=tests/third_party"]
    session.run("pytest", *collect, *folders, env=environ, silent=True)
    session.run("python", "tests/proof_table.py", "--check", declared)


@nox.session
def proofs(session: nox.Session) -> None:
    """Write the README's tables of what is proven, from the records of `nox` and `nox -s oracles` run before."""
    records = (str(path) for path in sorted(PROOFS.glob("*.jsonl")) if path.stem != "declared")
    session.run("python", "tests/proof_table.py", *records)


@nox.session
@nox.parametrize("target", MUTATED, ids=MUTATED)
def mutants(session: nox.Session, target: str) -> None:
    """Plant small bugs in parsers, sampling and scheduling; the tests must notice at least 80 % of them."""
    session.install("./core[testing]", *(f"./{folder}" for word, folder in PLUGINS.items() if word != "numba"))
    session.run("python", "tests/mutants.py", target, *session.posargs)


@nox.session
@nox.parametrize("target", FUZZED, ids=FUZZED)
def fuzz(session: nox.Session, target: str) -> None:
    """Feed one reader of strangers' files with what reaches new code, for five minutes or as `-- --seconds N` says."""
    session.install("atheris", *EVERYTHING)
    folder = ROOT / ".nox" / "fuzz"
    session.run("python", "tests/fuzz.py", target, "--corpus", str(folder), *session.posargs)
