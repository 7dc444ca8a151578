"""`realizar bench-serve`: load on a running server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from realizar.bench.load import Load, LoadReport, generate_load
from realizar.cli.display import print_table, progress_bars
from realizar.cli.options import output_format


@click.command("bench-serve")
@click.argument("url")
@click.option("--requests", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--concurrency", type=click.IntRange(min=1), default=16, show_default=True, help="Open at once.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True),
              help="Requests a second at random times instead, however slow the answers are.")  # fmt: skip
@click.option("--prompt-words", type=click.IntRange(min=1), default=80, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--model", help="Id of a served model; the server's default if none is named.")
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True, help="Other seeds send other prompts.")
@output_format
def bench_serve_command(url: str, api_key_file: Path | None, output: str, **options: Any) -> None:
    """Send requests of unique prompts to the server at URL and print throughput and latencies.

    Any server of OpenAI's /v1/completions will do. Exit code 1 if no request was answered.
    """
    api_key = None if api_key_file is None else api_key_file.read_text(encoding="utf-8").strip()
    with progress_bars() as progress:
        report = asyncio.run(generate_load(Load(url, api_key=api_key, **options), progress))
    if output == "json":
        click.echo(json.dumps(report.summary()))
    else:
        _print(report)
    if not report.whole:
        click.get_current_context().exit(1)


def _print(report: LoadReport) -> None:
    failed = ", ".join(f"{count} x {name}" for name, count in report.failures.items()) or "none"
    click.echo(
        f"{len(report.records)} requests in {report.duration_s:.1f} s, failed: {failed}\n"
        f"{report.output_tokens_per_s:.1f} output tokens/s, {report.requests_per_s:.2f} requests/s, "
        f"{report.prompt_tokens:.0f} prompt tokens on average\n"
    )
    rows = [
        (name, *(f"{1000 * seconds:.1f}" for seconds in (p.p50, p.p90, p.p99, p.largest)))
        for name, p in report.latencies.items()
    ]
    print_table(("ms", "p50", "p90", "p99", "largest"), rows)
