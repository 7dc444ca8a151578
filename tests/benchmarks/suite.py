"""What the suites share: their options, and the model they measure."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from make_random_1b import write_model

from realizar.bench import Case, LlamaCpp, Session
from realizar.bench.tables import to_markdown


def parser(description: str | None, *, model: bool) -> argparse.ArgumentParser:
    """`--quick`, `--rounds`, `--backend`, and MODEL for a suite that measures one."""
    made = argparse.ArgumentParser(description=description)
    if model:
        made.add_argument("model", nargs="?", default="smollm2", help="path or name; smollm2 by default")
    made.add_argument("--quick", action="store_true", help="tiny sizes and a tiny random model: does it run at all?")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--backend", help="compute backend; the best one by default")
    return made


@contextlib.contextmanager
def chosen_model(chosen: argparse.Namespace) -> Iterator[str]:
    """The model that was asked for; with `--quick` a tiny one that is removed afterwards."""
    if not chosen.quick:
        yield chosen.model
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        write_model(path, hidden=256, layers=1, vocabulary=1000, seed=0)
        yield str(path)


def print_cases(
    title: str, model: str, cases: Sequence[Case], chosen: argparse.Namespace, *, kv_type: str | None = None,
    peer: LlamaCpp | None = None,
) -> None:  # fmt: skip
    """Measure through the engine as `realizar bench` does, with the floor unless it is quick, and print the table."""
    session = Session(
        model, backend=chosen.backend, kv_type=kv_type, rounds=1 if chosen.quick else chosen.rounds, peer=peer,
        with_floor=not chosen.quick,
    )  # fmt: skip
    print(f"## {title}\n\n{to_markdown(session.run(cases))}\n", flush=True)
