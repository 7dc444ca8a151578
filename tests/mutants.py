"""Plants one small bug at a time and counts how many the tests notice: `python tests/mutants.py sampling`.

A bug is one changed operator, constant, condition or return value of a target's source, in a copy that stands before
the installed package on PYTHONPATH. Texts are left alone (messages, docstrings, annotations, what is logged or
raised). The bugs are a sample with a fixed seed, so that two runs plant the same. Exit 1 if fewer than 80 % are
noticed.
"""

from __future__ import annotations

import argparse
import ast
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "core/src": ROOT / "core/src",
    **{f"{word}/src": ROOT / f"plugins/formats/{word}/src" for word in ("gguf", "safetensors", "apr")},
    **{f"{word}/src": ROOT / f"plugins/tokenizers/{word}/src" for word in ("sentencepiece", "wordpiece")},
}
LIMIT, SEED, WANTED = 120, 0, 0.8


class Target(NamedTuple):
    """Sources relative to a package's folder, and the test files that must notice."""

    package: str
    sources: tuple[str, ...]
    tests: tuple[str, ...]


_CORE_TESTS = "core/tests/test_{}.py"
TARGETS = {
    "gguf": Target("gguf/src", ("realizar_gguf/*.py",), ("plugins/formats/gguf/tests",)),
    "apr": Target(
        "apr/src",
        ("realizar_apr/*.py",),
        tuple(f"plugins/formats/apr/tests/test_{name}.py" for name in ("reader", "writer", "encodings", "hostile")),
    ),
    "safetensors": Target(
        "safetensors/src",
        ("realizar_safetensors/*.py",),
        tuple(
            f"plugins/formats/safetensors/tests/test_{name}.py"
            for name in ("reader", "writer", "block_scales", "hostile")
        ),
    ),
    "huggingface": Target(
        "core/src",
        ("realizar/huggingface/*.py",),
        tuple(map(_CORE_TESTS.format, ("huggingface_tokenizer", "huggingface_vocabulary", "huggingface_files"))),
    ),
    "tokenizer_files": Target(
        "core/src",
        ("realizar/tokenizer_files/*.py",),
        tuple(map(_CORE_TESTS.format, ("protobuf", "sentencepiece_model"))),
    ),
    "pipeline": Target(
        "core/src",
        ("realizar/pipeline/*.py",),
        tuple(map(_CORE_TESTS.format, ("pipeline", "charsmap", "byte_alphabet", "added_tokens"))),
    ),
    "sentencepiece": Target(
        "sentencepiece/src", ("realizar_sentencepiece/*.py",), ("plugins/tokenizers/sentencepiece/tests",)
    ),
    "wordpiece": Target("wordpiece/src", ("realizar_wordpiece/*.py",), ("plugins/tokenizers/wordpiece/tests",)),
    "sampling": Target(
        "core/src",
        ("realizar/sampling/*.py",),
        tuple(map(_CORE_TESTS.format, ("sampling", "samplers", "sampling_params", "stop_matcher"))),
    ),
    "scheduling": Target(
        "core/src",
        tuple(
            f"realizar/engine/{name}.py"
            for name in (
                "block_manager",
                "draft_model",
                "engine",
                "prefix_cache",
                "runner",
                "scheduler",
                "sequence",
                "speculation",
            )  # fmt: skip
        ),
        tuple(
            map(
                _CORE_TESTS.format,
                (
                    "block_manager",
                    "prefix_cache",
                    "sequence",
                    "scheduler",
                    "runner",
                    "speculation",
                    "engine",
                    "preemption",
                ),
            )
        ),
    ),
}

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.Pow: ast.Mult,
}  # fmt: skip

Change = Callable[[ast.AST], None]


class Mutant(NamedTuple):
    """One bug: the n-th node of a file, changed."""

    path: Path
    node: int
    line: int
    what: str
    change: Change


def changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """What can be done to one node."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            other = _COMPARISONS[type(operator)]
            yield f"{_name(operator)} -> {other.__name__}", lambda n, i=i, other=other: n.ops.__setitem__(i, other())
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in _ARITHMETIC:
        swapped = _ARITHMETIC[type(node.op)]
        yield f"{_name(node.op)} -> {swapped.__name__}", lambda n: setattr(n, "op", swapped())
    elif isinstance(node, ast.BoolOp):
        flipped = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{_name(node.op)} -> {flipped.__name__}", lambda n: setattr(n, "op", flipped())
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield f"{node.value} -> {value}", lambda n: setattr(n, "value", value)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield "condition negated", lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "returns None", lambda n: setattr(n, "value", ast.Constant(None))


def _name(operator: ast.AST) -> str:
    return type(operator).__name__


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node: ast.AST) -> bool:
    """Whether nothing in it is worth changing: a message, a log line, an f-string, a type."""
    if isinstance(node, (ast.Raise, ast.JoinedStr)):
        return True
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "log":
        return True
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name.endswith("Error") or name in ("malformed", "_refuse", "overload", "cast")


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that may be changed, in a fixed order."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_text(child):
                yield child
                yield from nodes(child)


def plant(source: str, mutant: Mutant) -> str:
    """The source with that bug."""
    tree = ast.parse(source)
    for i, node in enumerate(nodes(tree)):
        if i == mutant.node:
            mutant.change(node)
    return ast.unparse(ast.fix_missing_locations(tree))


def find(target: Target) -> list[Mutant]:
    """All bugs that could be planted in a target."""
    folder, found = PACKAGES[target.package], []
    for path in sorted(path for pattern in target.sources for path in folder.glob(pattern)):
        for i, node in enumerate(nodes(ast.parse(path.read_text(encoding="utf-8")))):
            for what, change in changes(node):
                mutant = Mutant(path.relative_to(folder), i, getattr(node, "lineno", 0), what, change)
                found.append(mutant)
    return found


class Workshop:
    """A copy of the packages in which one bug at a time is planted."""

    def __init__(self, folder: Path, target: Target) -> None:
        self.target = target
        for name, source in PACKAGES.items():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        self.package = folder / target.package
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("REALIZAR_")} | {
            "PYTHONPATH": os.pathsep.join(str(folder / name) for name in PACKAGES),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
            "OPENBLAS_NUM_THREADS": "1",
        }

    def noticed(self, mutant: Mutant | None, timeout_s: float) -> bool:
        """Whether the tests fail with this bug; hanging is failing."""
        if mutant is None:
            return self._fails(timeout_s)
        path = self.package / mutant.path
        source = path.read_text(encoding="utf-8")
        try:
            path.write_text(plant(source, mutant), encoding="utf-8")
            self._forget(path)
            return self._fails(timeout_s)
        finally:
            path.write_text(source, encoding="utf-8")
            self._forget(path)

    @staticmethod
    def _forget(path: Path) -> None:
        """Remove compiled code, which is only compared by whole seconds and size."""
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()

    def _fails(self, timeout_s: float) -> bool:
        line = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        process = subprocess.Popen(
            [*line, *self.target.tests], cwd=ROOT, env=self.environ, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return process.wait(timeout_s) != 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True


def main() -> int:
    """Plant, run, count; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--limit", type=int, default=LIMIT, help="how many bugs at most")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    target = TARGETS[options.target]
    everything = find(target)
    sample = random.Random(options.seed).sample(everything, min(options.limit, len(everything)))
    sample.sort(key=lambda mutant: (mutant.path, mutant.line, mutant.node))
    with tempfile.TemporaryDirectory() as folder:
        workshops: queue.SimpleQueue[Workshop] = queue.SimpleQueue()
        for i in range(options.workers):
            workshops.put(Workshop(Path(folder, str(i)), target))
        timeout_s = _check_unharmed(workshops)

        def judge(mutant: Mutant) -> bool:
            workshop = workshops.get()
            try:
                return workshop.noticed(mutant, timeout_s)
            finally:
                workshops.put(workshop)

        with ThreadPoolExecutor(options.workers) as pool:
            killed = 0
            for mutant, noticed in zip(sample, pool.map(judge, sample), strict=True):
                killed += noticed
                verdict = "killed  " if noticed else "SURVIVED"
                print(f"{verdict} {mutant.path}:{mutant.line}: {mutant.what}", flush=True)
    share = killed / len(sample)
    print(f"{options.target}: {killed} of {len(sample)} planted bugs noticed ({share:.0%}); {len(everything)} possible")
    return int(share < WANTED)


def _check_unharmed(workshops: queue.SimpleQueue[Workshop]) -> float:
    """Run the tests without any bug; returns the time limit for those with one, in seconds."""
    workshop = workshops.get()
    start = time.monotonic()
    if workshop.noticed(None, 600):
        raise SystemExit("the tests fail without any planted bug; mend that first")
    workshops.put(workshop)
    return 10 + 5 * (time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main())
