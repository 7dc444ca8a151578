"""`realizar verify`: whether a model file is whole and sound."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import click

from realizar.cli.display import progress_bars
from realizar.cli.options import output_format
from realizar.conversion.verification import verify


@click.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model-format", help="Format plugin that reads FILE; recognized by default.")
@output_format
@click.pass_context
def verify_command(ctx: click.Context, file: Path, model_format: str | None, output: str) -> None:
    """Check FILE: checksums, sizes, NaN and infinity, names and shapes. Exit code 1 if anything is wrong."""
    with progress_bars() as progress:
        report = verify(file, model_format, progress)
    if output == "json":
        click.echo(json.dumps({"path": str(file), **attrs.asdict(report)}, indent=1))
    else:
        for finding in report.findings:
            click.echo(f"wrong: {finding}")
        for note in report.notes:
            click.echo(f"note: {note}")
        click.echo(
            f"{file}: {len(report.findings)} findings, {report.num_tensors} tensors, {report.nbytes / 1e6:.1f} MB"
        )
    ctx.exit(1 if report.findings else 0)
