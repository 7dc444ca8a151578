"""`realizar perplexity`: how surprised a model is by a text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from realizar.cli.display import progress_bars
from realizar.cli.options import model_options, output_format
from realizar.engine import LLM
from realizar.engine.perplexity import negative_log_likelihoods


@click.command("perplexity")
@model_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--window", type=click.IntRange(min=2), default=512, show_default=True, help="Tokens a window.")
@output_format
def perplexity_command(model: str, file: Path, window: int, output: str, **options: Any) -> None:
    """Print the perplexity of MODEL on the text in FILE, window by window, each token judged by those before it."""
    text = file.read_text(encoding="utf-8")
    with progress_bars() as progress:
        llm = LLM(model, allow_download=False, progress=progress, **options)
        with llm:
            losses = negative_log_likelihoods(llm, llm.tokenizer.encode(text), window, progress)
    mean = sum(losses) / len(losses)
    spread = math.sqrt(sum((x - mean) ** 2 for x in losses) / len(losses) / max(1, len(losses) - 1))
    result = {"perplexity": math.exp(mean), "stderr": math.exp(mean) * spread, "tokens": len(losses), "window": window}
    if output == "json":
        click.echo(json.dumps(result))
    else:
        click.echo(f"perplexity {result['perplexity']:.4f} ± {result['stderr']:.4f} over {len(losses)} tokens")
