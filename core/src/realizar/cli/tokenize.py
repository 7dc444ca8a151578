"""`realizar tokenize`: text to ids."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from realizar.cli.display import progress_bars
from realizar.cli.options import output_format
from realizar.engine import load_tokenizer


@click.command("tokenize")
@click.argument("model")
@click.argument("text", required=False)
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read the text from here.")
@click.option("--no-special", is_flag=True, help="Add no BOS or EOS.")
@click.option("--parse-special", is_flag=True, help="Text that spells a control token becomes that token.")
@output_format
def tokenize_command(
    model: str, text: str | None, file: Path | None, no_special: bool, parse_special: bool, output: str
) -> None:
    """Print the token ids of TEXT (or --file, or standard input); MODEL may be a vocabulary-only file."""
    if text is not None and file is not None:
        raise click.UsageError("TEXT and --file exclude each other")
    if text is None:
        text = sys.stdin.read() if file is None else file.read_text(encoding="utf-8")
    with progress_bars() as progress:
        tokenizer = load_tokenizer(model, progress=progress)
    ids = tokenizer.encode(text, add_special_tokens=not no_special, parse_special=parse_special)
    pieces = [tokenizer.token_bytes(i).decode("utf-8", "replace") for i in ids]
    if output == "json":
        click.echo(json.dumps({"token_ids": ids, "pieces": pieces}))
    else:
        for token_id, piece in zip(ids, pieces, strict=True):
            click.echo(f"{token_id:>8}  {piece!r}")
