"""`realizar embed`: texts to vectors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from realizar.cli.display import print_table, progress_bars
from realizar.cli.options import model_options, output_format
from realizar.engine import LLM
from realizar.engine.pooling import PoolingType

SHOWN = 6
"""Numbers of a vector that a table has room for."""


@click.command("embed")
@model_options
@click.argument("texts", nargs=-1)
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read texts from here too.")
@click.option("--pooling", type=click.Choice(get_args(PoolingType)), help="Where the model's files do not say.")
@click.option("--truncate", is_flag=True, help="Leave out what is beyond the model's context instead of refusing.")
@output_format
def embed_command(
    model: str, texts: tuple[str, ...], file: Path | None, pooling: PoolingType | None, truncate: bool, output: str,
    **options: Any,
) -> None:  # fmt: skip
    """Print the embeddings of TEXTS (and of the lines of --file; of standard input where neither is given)."""
    found = list(texts)
    if file is not None:
        found += file.read_text(encoding="utf-8").splitlines()
    elif not texts:
        found = sys.stdin.read().splitlines()
    with progress_bars() as progress:
        llm = LLM(model, progress=progress, **options)
    with llm:
        vectors = llm.embed(found, pooling=pooling, truncate=truncate)
    if output == "json":
        click.echo(json.dumps({"texts": found, "embeddings": vectors.tolist()}))
    else:
        rows = [
            (_short(text), f"{np.linalg.norm(vector):.4f}", " ".join(f"{x:+.4f}" for x in vector[:SHOWN]) + " …")
            for text, vector in zip(found, vectors, strict=True)
        ]
        print_table(("TEXT", "LENGTH", f"FIRST {SHOWN} OF {vectors.shape[1]} NUMBERS"), rows)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
