"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from realizar.structured import Grammar, JsonSchema, Regex, Structure

F = TypeVar("F", bound=Callable[..., Any])


def model_options(function: F) -> F:
    """MODEL, and how it is loaded: the keyword arguments of `LLM`."""
    for decorate in reversed(
        (
            click.argument("model"),
            click.option("--backend", help="Compute backend; the best one by default."),
            click.option("--threads", type=click.IntRange(min=1), help="CPU threads; all cores by default."),
            click.option("--ctx", "max_model_len", type=click.IntRange(min=1), help="Context length in tokens."),
            click.option("--kv-type", help="Type of the KV cache (F32, F16, BF16, Q8_0); the backend's default."),
            click.option("--model-format", help="Format plugin that reads MODEL; recognized by default."),
        )
    ):
        function = decorate(function)
    return function


def sampling_options(function: F) -> F:
    """The sampling parameters of a generation."""
    for decorate in reversed(
        (
            click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True),
            click.option("--temperature", type=float, default=0.7, show_default=True, help="0 is greedy."),
            click.option("--top-k", type=int, default=40, show_default=True, help="0 is off."),
            click.option("--top-p", type=float, default=0.95, show_default=True),
            click.option("--min-p", type=float, default=0.0, show_default=True),
            click.option("--seed", type=int, help="The same seed gives the same text."),
            click.option("--stop", multiple=True, help="Stop before this text; may be repeated."),
        )
    ):
        function = decorate(function)
    return function


def structure_options(function: F) -> F:
    """What the output must be, at most one of three."""
    for decorate in reversed(
        (
            click.option("--json-schema", type=click.File(), help="The output is JSON of the schema in this file."),
            click.option("--regex", help="The output matches this regular expression from start to end."),
            click.option("--grammar", type=click.File(), help="The output follows a grammar: a file of Lark or GBNF."),
        )
    ):
        function = decorate(function)
    return function


def structure(json_schema: IO[str] | None, regex: str | None, grammar: IO[str] | None) -> Structure | None:
    """What the options of `structure_options` ask for; raises UsageError for more than one of them."""
    if sum(given is not None for given in (json_schema, regex, grammar)) > 1:
        raise click.UsageError("--json-schema, --regex and --grammar exclude each other")
    if json_schema is not None:
        return JsonSchema(json_schema.read())
    if grammar is not None:
        return Grammar(grammar.read())
    return None if regex is None else Regex(regex)


draft_option = click.option(
    "--draft", help="Guess tokens, for speed alone: prompt-lookup, or a smaller MODEL of the same vocabulary."
)

output_format = click.option(
    "--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True
)

trace_option = click.option(
    "--trace", type=click.Path(dir_okay=False, path_type=Path), help="Write measured spans as Chrome-trace JSON."
)
