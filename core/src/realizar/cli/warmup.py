"""`realizar warmup`: compile ahead of the first use."""

from __future__ import annotations

import time
from typing import Any

import click

from realizar.cli.display import progress_bars
from realizar.cli.options import model_options
from realizar.engine import LLM


@click.command("warmup")
@model_options
def warmup_command(model: str, **options: Any) -> None:
    """Load MODEL and run a prefill and a decode step, so that everything compiled is cached for the next start."""
    start = time.perf_counter()
    with progress_bars() as progress:
        llm = LLM(model, allow_download=False, progress=progress, **options)
        with llm:
            llm.warm_up()
    click.echo(f"{model} on {llm.backend_name}: ready after {time.perf_counter() - start:.1f} s")
