"""`realizar parity`: two backends side by side, op by op."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import click
import numpy as np

from realizar.backend import Backend, BackendOptions
from realizar.cli.display import progress_bars
from realizar.cli.parity_view import parity_table
from realizar.engine.loader import open_named
from realizar.errors import ModelError
from realizar.graph import Graph
from realizar.model import ModelFile
from realizar.parity import Finding, Repetition, compare, load_weights, repeat
from realizar.parity.units import first_layers
from realizar.progress import Progress
from realizar.selection import build_graph, choose_backend

Show = Callable[[Finding | Repetition], None]


@click.command("parity")
@click.argument("model")
@click.option("--backend", help="Compute backend under test; the best one by default.")
@click.option("--against", default="numpy", show_default=True, help="Backend that is taken for right.")
@click.option("--level", type=click.Choice(["op", "layer"]), default="op", show_default=True,
              help="Compare single ops, or whole blocks as the backend fuses them.")  # fmt: skip
@click.option("--layers", type=click.IntRange(min=1), help="Only the first layers; all by default.")
@click.option("--tokens", type=click.IntRange(min=1), default=9, show_default=True, help="Tokens of the prefill step.")
@click.option("--decode", type=click.IntRange(min=0), default=2, show_default=True, help="Steps of one token after it.")
@click.option("--tolerance", type=float, default=1e-3, show_default=True, help="Normalized mean square error.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Repetitions for equal bits.")
@click.option("--kv-type", help="Type of both KV caches.")
@click.option("--tui", is_flag=True, help="Watch it as it runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def parity_command(
    model: str, backend: str | None, against: str, layers: int | None, tokens: int, decode: int,
    tui: bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Run the same inputs through two backends and show where the results first part.

    Then run every distinct op again among the others: the bits must be the same each time. Exit code 1 if an op is
    beyond the tolerance or does not repeat.
    """
    with contextlib.ExitStack() as opened, progress_bars() as progress:
        file = opened.enter_context(contextlib.closing(open_named(model, progress=progress)))
        graph = _graph(file, layers)
        steps = _steps(graph, file, tokens, decode)
        candidate, reference = (
            opened.enter_context(contextlib.closing(_backend(name, progress))) for name in (backend, against)
        )
        show = opened.enter_context(_shown(candidate.name, reference.name, tui=tui, as_json=as_json))
        bad = _run(graph, file, candidate, reference, steps, show, options)
    if bad:
        click.get_current_context().exit(1)


def _graph(file: ModelFile, layers: int | None) -> Graph:
    if file.config is None:
        raise ModelError(f"{file.path}: cannot be run, {file.no_config or 'the file has no model configuration'}")
    graph = build_graph(file.config, file.tensors)
    return first_layers(graph, layers) if layers else graph


def _steps(graph: Graph, file: ModelFile, tokens: int, decode: int) -> list[list[int]]:
    """A prefill of random tokens, then steps of one each; an encoder sees its text in one step."""
    assert file.config is not None
    ids = np.random.default_rng(0).integers(0, file.config.vocab_size, tokens + decode).tolist()
    return [ids[:tokens], *([i] for i in ids[tokens:])] if graph.is_causal else [ids[:tokens]]


def _backend(name: str | None, progress: Progress) -> Backend:
    return choose_backend(name)[0](BackendOptions(), progress)


def _run(
    graph: Graph, file: ModelFile, candidate: Backend, reference: Backend, steps: list[list[int]], show: Show,
    options: dict[str, Any],
) -> int:  # fmt: skip
    """Show everything that is found; returns how many findings are bad."""
    bad = 0
    weights = load_weights(candidate, graph, file.tensors)
    compared: Iterable[Finding] = compare(
        graph, file.tensors, candidate, weights, reference, steps,
        level=options["level"], tolerance=options["tolerance"], kv_type=options["kv_type"],
    )  # fmt: skip
    repeated = repeat(graph, candidate, weights, steps, rounds=options["rounds"], level=options["level"])
    for findings in (compared, repeated):
        for finding in findings:
            show(finding)
            bad += not finding.ok
    return bad


@contextlib.contextmanager
def _shown(candidate: str, reference: str, *, tui: bool, as_json: bool) -> Iterator[Show]:
    if as_json:
        yield lambda finding: click.echo(json.dumps(attrs.asdict(finding) | {"ok": finding.ok}))
    else:
        with parity_table(candidate, reference, live=tui) as table:
            yield table.add
