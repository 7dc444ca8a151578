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


def main(model: str = "smollm2", backend: str | None = None, rounds: str = "7") -> None:
    """Load times from the path to loaded weights, with all files in the system's cache; decode of 64 tokens."""
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

        tell("load", "s", in_turns({name: loading(path, cls.name) for name, path in files.items()}, int(rounds)))
        with contextlib.ExitStack() as stack:
            llms = {
                name: stack.enter_context(LLM(path, backend=cls.name, max_model_len=CONTEXT))
                for name, path in files.items()
            }
            tell("decode", "tokens/s", in_turns({name: decoding(llm) for name, llm in llms.items()}, int(rounds)))
            logits = {llm.logits([1, 2, 3]).tobytes() for llm in llms.values()}
            print("logits:", "the same bits" if len(logits) == 1 else "they differ")


def loading(path: Path, backend: str) -> Callable[[], float]:
    """Gives the seconds from a path to weights that are ready to run."""

    def seconds() -> float:
        start = time.perf_counter()
        loaded = load_model(path, BackendOptions(), backend=backend)
        end = time.perf_counter()
        loaded.backend.close()
        loaded.file.close()
        return end - start

    return seconds


def decoding(llm: LLM) -> Callable[[], float]:
    """Gives tokens a second."""
    rng = np.random.default_rng(0)
    return lambda: measure(llm, DECODE, rng).tokens_per_s


def in_turns(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each gives in every round, after one that does not count: all meet the same minute."""
    found = [{name: work() for name, work in works.items()} for _ in range(rounds + 1)]
    return {name: [values[name] for values in found[1:]] for name in works}


def tell(what: str, unit: str, found: Mapping[str, list[float]]) -> None:
    """Medians, and the median, lowest and highest of the ratios of each round to the source."""
    for name, values in found.items():
        ratios = [value / base for value, base in zip(values, found["source"], strict=True)]
        print(
            f"{what}, {name}: {statistics.median(values):.3g} {unit}, "
            f"{statistics.median(ratios):.2f} x source ({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
