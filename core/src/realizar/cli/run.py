"""`realizar run`: one prompt, one answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import click

from realizar.cli.display import progress_bars
from realizar.cli.options import (
    draft_option,
    model_options,
    output_format,
    sampling_options,
    structure,
    structure_options,
    trace_option,
)
from realizar.engine import LLM, Piece
from realizar.sampling import SamplingParams
from realizar.trace import Tracer


@click.command("run")
@model_options
@click.argument("prompt", required=False)
@sampling_options
@structure_options
@draft_option
@click.option("--system", help="System message before the prompt.")
@click.option("--raw", is_flag=True, help="No chat template: continue the prompt as it stands.")
@output_format
@trace_option
def run_command(
    model: str, prompt: str | None, system: str | None, raw: bool, output: str, trace: Path | None, **options: Any
) -> None:
    """Generate from PROMPT (or standard input) with MODEL: a path, or a name such as smollm2 or hf://ORG/REPO."""
    if raw and system is not None:
        raise click.UsageError("--system needs the chat template that --raw leaves out; put the text into the prompt")
    asked = structure(*(options.pop(name) for name in ("json_schema", "regex", "grammar")))
    params = attrs.evolve(sampling_params(options), structured=asked)
    text = sys.stdin.read() if prompt is None else prompt
    tracer = Tracer() if trace is not None else None
    with progress_bars() as progress:
        llm = LLM(model, progress=progress, tracer=tracer, **options)
    with llm:
        pieces = llm.stream(text if raw else _messages(system, text), params)
        (_print_json if output == "json" else _print_text)(pieces)
    if tracer is not None and trace is not None:
        tracer.write(trace)


def sampling_params(options: dict[str, Any]) -> SamplingParams:
    """Take the sampling options out of `options`."""
    names = {field.name for field in attrs.fields(SamplingParams)}
    return SamplingParams(**{name: options.pop(name) for name in list(options) if name in names})


def _messages(system: str | None, prompt: str) -> list[dict[str, Any]]:
    start = [] if system is None else [{"role": "system", "content": system}]
    return [*start, {"role": "user", "content": prompt}]


def _print_text(pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        sys.stdout.write(piece.text)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _print_json(pieces: Iterable[Piece]) -> None:
    *_, last = pieces
    completion = last.completion
    assert completion is not None
    fields = ("prompt_token_ids", "token_ids", "text", "finish_reason")
    result = {name: getattr(completion, name) for name in fields}
    click.echo(json.dumps({**result, "timings": attrs.asdict(completion.timings)}))
