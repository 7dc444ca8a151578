"""Convert a model to APR with a backend's prepacked copy, then time loading and decoding beside the file it was."""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from realizar import LLM
from realizar.backend import BackendOptions
from realizar.bench.case import Case
from realizar.bench.measure import measure
from realizar.conversion.convert import convert
from realizar.engine.loader import load_model, open_named
from realizar.selection import choose_backend, choose_target

DECODE = Case(n_prompt=0, n_gen=64)
CONTEXT = 128

Figures = Mapping[str, float]
"""What one round gives: "open, s" and the like -> number."""


def main(model: str = "smollm2", backend: str | None = None, rounds: str = "7") -> None:
    """Loading with all files in the system's cache, and decode of 64 tokens, as medians of `rounds` rounds."""
    cls, _ = choose_backend(backend)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(open_named(model, allow_download=True)) as source:
        files = {"source": source.path, "apr": Path(folder) / "plain.apr", "prepacked": Path(folder) / "packed.apr"}
        apr = choose_target(files["apr"])
        convert(source, apr, files["apr"])
        with contextlib.closing(cls(BackendOptions())) as maker:
            convert(source, apr, files["prepacked"], prepack=maker)
            print(f"{model} ({source.format}) on {cls.name}, layout {maker.prepacked_layout}")
        for name, path in files.items():
            print(f"{name}: {path.stat().st_size / 1e6:.1f} MB")

        in_turns({name: loading(path, cls.name) for name, path in files.items()}, int(rounds))
        with contextlib.ExitStack() as stack:
            llms = {
                name: stack.enter_context(LLM(path, backend=cls.name, max_model_len=CONTEXT))
                for name, path in files.items()
            }
            in_turns({name: decoding(llm) for name, llm in llms.items()}, int(rounds))
            logits = {llm.logits([1, 2, 3]).tobytes() for llm in llms.values()}
            print("logits:", "the same bits" if len(logits) == 1 else "they differ")


def loading(path: Path, backend: str) -> Callable[[], Figures]:
    """Times from a path to an open file (its vocabulary is read), and on to weights that are ready to run."""

    def load() -> Figures:
        start = time.perf_counter()
        loaded = load_model(path, BackendOptions(), backend=backend)
        seconds = time.perf_counter() - start
        loaded.backend.close()
        loaded.file.close()
        return {"open, s": seconds - loaded.load_s, "load, s": loaded.load_s, "open and load, s": seconds}

    return load


def decoding(llm: LLM) -> Callable[[], Figures]:
    """Speed on random tokens."""
    rng = np.random.default_rng(0)
    return lambda: {"decode, tokens/s": measure(llm, DECODE, rng).tokens_per_s}


def in_turns(works: Mapping[str, Callable[[], Figures]], rounds: int) -> None:
    """Print medians, and the median, lowest and highest of each round's ratio to the source.

    All take turns, so that they meet the same minute; the first round does not count.
    """
    found = [{name: work() for name, work in works.items()} for _ in range(rounds + 1)][1:]
    for what in found[0]["source"]:
        for name in works:
            values = [of_round[name][what] for of_round in found]
            ratios = [of_round[name][what] / of_round["source"][what] for of_round in found]
            spread = f"{statistics.median(ratios):.2f} x source ({min(ratios):.2f}-{max(ratios):.2f})"
            print(f"{what}: {name} {statistics.median(values):.3g}, {spread}")


if __name__ == "__main__":
    main(*sys.argv[1:])
