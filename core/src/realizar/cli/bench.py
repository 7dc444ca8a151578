"""`realizar bench`: tokens a second in llama-bench's quantities, alone or beside llama.cpp and the machine's floor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from realizar.bench import Case, LlamaCpp, Report, Session, make_cases
from realizar.bench.baseline import Baseline, changes, read_baseline
from realizar.bench.plot import Plot
from realizar.bench.tables import columns, line, remarks, to_csv, to_json, to_markdown
from realizar.cli.display import print_table, progress_bars

F = TypeVar("F", bound=Callable[..., Any])

_MARKUP = {"json": to_json, "csv": to_csv, "markdown": to_markdown}


def _counts(*names: str, default: str | None, least: int, help: str) -> Callable[[F], F]:
    """An option that takes a list of whole numbers such as 0,1024,4096, none below `least`."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
        if value is None:
            return None
        try:
            counts = [int(part) for part in value.split(",")]
        except ValueError:
            counts = []
        if not counts or min(counts) < least:
            raise click.BadParameter(f"{value!r} is not a list of whole numbers from {least} on, such as 1,2")
        return counts

    return click.option(*names, default=default, show_default=default is not None, callback=read, help=help)


def _percent(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return float(value.removesuffix("%")) / 100
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a percentage such as 5%") from None


def _picture(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix not in (".png", ".svg"):
        raise click.BadParameter(f"{str(value)!r} ends neither in .png nor in .svg")
    return value


@click.command("bench")
@click.argument("model")
@_counts("-p", "--n-prompt", default="512", least=0, help="Prompt lengths; 0 is none.")
@_counts("-n", "--n-gen", default="128", least=0, help="Tokens to decode; 0 is none.")
@_counts("-d", "--n-depth", default="0", least=0, help="Tokens already in the cache.")
@_counts("-b", "--n-batch", default="1", least=1, help="Sequences decoded at once.")
@_counts("--threads", default=None, least=1, help="Thread counts, such as 1,2; all cores by default.")
@click.option("-r", "--repetitions", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds.")
@click.option("--backend", help="Compute backend; the best one by default.")
@click.option("--kv-type", help="Type of the KV cache.")
@click.option(
    "--compare", metavar="llama.cpp[=PATH]",
    help="Measure llama.cpp's programs between our rounds; PATH is llama-bench or its folder.",
)  # fmt: skip
@click.option("--floor", "with_floor", is_flag=True, help="Measure memory and int8 speed too; print fractions of them.")
@click.option("--format", "output", type=click.Choice(["table", *_MARKUP]), default="table", show_default=True)
@click.option("--json", "output", flag_value="json", help="The same as --format json.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), callback=_picture,
    help="Draw the results into FILE.png or FILE.svg (needs matplotlib).",
)  # fmt: skip
@click.option(
    "--against", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An earlier JSON output; exit 1 if a case is slower by more than the threshold.",
)  # fmt: skip
@click.option("--threshold", default="5%", show_default=True, callback=_percent)
@click.pass_context
def bench_command(
    ctx: click.Context, model: str, n_prompt: list[int], n_gen: list[int], n_depth: list[int], n_batch: list[int],
    threads: list[int] | None, repetitions: int, backend: str | None, kv_type: str | None,
    compare: str | None, with_floor: bool, output: str, plot: Path | None, against: Path | None,
    threshold: float,
) -> None:  # fmt: skip
    """Measure prefill and decode of MODEL through the whole engine: scheduling, sampling and text included.

    Speeds are medians of the rounds. p50 and p99 are times from one token to the next.
    """
    cases = make_cases(n_prompt, n_gen, n_depth=n_depth, n_batch=n_batch, threads=threads or (None,))
    if not cases:
        raise click.UsageError("nothing to measure: every -p and -n is 0")
    picture = Plot(plot) if plot is not None else None
    baseline = read_baseline(against) if against is not None else None
    peer = _peer(compare, cases) if compare is not None else None
    with progress_bars() as progress:
        session = Session(
            model, backend=backend, kv_type=kv_type, rounds=repetitions, peer=peer, with_floor=with_floor,
            progress=progress,
        )  # fmt: skip
        report = session.run(cases)
    _print(report, output)
    if with_floor and not report.floors:
        click.echo(f"the backend {report.backend} measures no floor", err=True)
    if picture is not None:
        picture.write(report)
    if baseline is not None:
        ctx.exit(int(_slower(report, baseline, threshold)))


def _peer(compare: str, cases: list[Case]) -> LlamaCpp:
    name, _, location = compare.partition("=")
    if name != LlamaCpp.name:
        raise click.BadParameter(f"--compare: {name!r} is not known; expected {LlamaCpp.name} or {LlamaCpp.name}=PATH")
    return LlamaCpp(Path(location).expanduser() if location else None, cases)


def _print(report: Report, output: str) -> None:
    if output in _MARKUP:
        click.echo(_MARKUP[output](report))
        return
    print_table(*columns(report))
    for remark in remarks(report):
        click.echo(remark)


def _slower(report: Report, baseline: Baseline, threshold: float) -> bool:
    """Whether any case is slower than its baseline by more than the threshold; says each comparison."""
    found = changes(report.results, baseline, threshold)
    for change in found:
        verdict = "slower" if change.slower else "ok"
        text = f"{line(change.result)}  {change.fraction:+.1%} against {change.before:.2f}: {verdict}"
        click.echo(text, err=True)
    return any(change.slower for change in found)
