"""The peer: llama.cpp's own benchmark programs, one case a run.

Options and output fields: llama.cpp `tools/llama-bench/README.md`, `tools/batched-bench/README.md`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from realizar.bench.case import Case
from realizar.errors import RealizarError

SINGLE, BATCHED = "llama-bench", "llama-batched-bench"
"""Programs: one sequence, several."""

_CELLS = 256
"""llama.cpp rounds the context of a sequence up to this many tokens."""


class LlamaCpp:
    """llama.cpp's programs. location: llama-bench or its folder; by default they are looked for on PATH.

    Raises RealizarError if a program that the cases need is not there.
    """

    name = "llama.cpp"

    def __init__(self, location: Path | None, cases: list[Case]) -> None:
        self.build = ""
        """Its commit, once something has been measured."""
        needed = {BATCHED if case.n_batch > 1 else SINGLE for case in cases}
        self._programs = {name: _find(name, location) for name in sorted(needed)}

    def measure(self, model: Path, case: Case, kv_type: str) -> float:
        """Tokens a second of one run in a process of its own, warmed up by the program itself."""
        return self._batched(model, case, kv_type) if case.n_batch > 1 else self._single(model, case, kv_type)

    def _single(self, model: Path, case: Case, kv_type: str) -> float:
        if kv_type == "F32":
            raise RealizarError(f"{SINGLE} keeps no F32 cache: compare with --kv-type F16, if the backend has it")
        numbers = {"-p": case.n_prompt, "-n": case.n_gen, "-d": case.n_depth, "-r": 1}
        [row] = self._json(SINGLE, [*_common(model, case, kv_type), *_flags(numbers), "-o", "json"])
        self.build = str(row["build_commit"])
        return float(row["avg_ts"])

    def _batched(self, model: Path, case: Case, kv_type: str) -> float:
        context = -(-(case.start + case.n_gen) // _CELLS) * _CELLS * case.n_batch
        numbers = {"-npp": case.start, "-ntg": case.n_gen, "-npl": case.n_batch, "-c": context}
        line = [*_common(model, case, kv_type), *_flags(numbers), "--output-format", "jsonl"]
        return float(self._json(BATCHED, line)["speed_tg"])

    def _json(self, name: str, line: list[str]) -> Any:
        program = self._programs[name]
        done = subprocess.run([str(program), *line], capture_output=True, text=True, errors="replace", check=False)
        try:
            done.check_returncode()
            return json.loads(done.stdout)
        except (subprocess.CalledProcessError, ValueError) as error:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise RealizarError(
                f"{program} {' '.join(line)}: exit code {done.returncode}, expected JSON; it said: {said}"
            ) from error


def _find(name: str, location: Path | None) -> Path:
    if location is None:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
        where = "on PATH"
    else:
        folder = location if location.is_dir() else location.parent
        program = location if location.name == name else folder / name
        if program.is_file() and os.access(program, os.X_OK):
            return program
        where = f"at {program}"
    raise RealizarError(
        f"no program {name} {where}; get llama.cpp (https://github.com/ggml-org/llama.cpp: releases, a package "
        f"manager, or its docs/build.md; -DGGML_NATIVE=ON suits this CPU) and say where: --compare llama.cpp=FOLDER"
    )


def _common(model: Path, case: Case, kv_type: str) -> list[str]:
    threads = _cores() if case.threads is None else case.threads
    cache = kv_type.lower()
    return ["-m", str(model), "-t", str(threads), "-ctk", cache, "-ctv", cache]


def _flags(numbers: dict[str, int]) -> list[str]:
    return [part for flag, value in numbers.items() for part in (flag, str(value))]


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
