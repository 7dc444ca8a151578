"""Options of `realizar serve`: how much is taken on, what failure costs, and the form of the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import click

from realizar.json_log import log_as_json
from realizar.limits import Limits

FALLBACK = "fallback_backend"
"""The option that names what stands in for a failing backend."""

_SECONDS, _COUNT = click.FloatRange(min=0, min_open=True), click.IntRange(min=1)
_DEFAULT = Limits()


def _as_json(context: click.Context, parameter: click.Parameter, value: str) -> None:
    if value == "json":
        log_as_json()


def _option(flag: str, name: str, kind: click.ParamType[Any], text: str) -> Callable[[Any], Any]:
    default = getattr(_DEFAULT, name)
    return click.option(flag, name, type=kind, default=default, show_default=default is not None, help=text)


_OPTIONS = (
    click.option("--fallback-backend", help="Backend that answers while the chosen one fails; loaded when needed."),
    _option("--request-timeout", "request_timeout_s", _SECONDS, "Most seconds of a request; none by default."),
    _option("--max-wait", "max_wait_s", _SECONDS, "Refuse (429) what would wait longer to begin."),
    _option("--key-concurrency", "key_concurrency", _COUNT, "Requests of one key at a time."),
    _option("--key-tokens-per-minute", "key_tokens_per_minute", _COUNT, "Tokens of one key a minute."),
    _option("--max-generations", "max_generations", _COUNT, "Generations at a time, of each model."),
    _option("--max-scorings", "max_scorings", _COUNT, "Embeddings and scorings at a time, of each model."),
    _option("--max-tokenizations", "max_tokenizations", _COUNT, "Tokenizations at a time."),
    _option("--breaker-failures", "breaker_failures", _COUNT, "Failures in 30 s that make a model answer 503."),
    _option("--breaker-open", "breaker_open_s", _SECONDS, "Seconds after which one request tries it again."),
    _option("--stall", "stall_s", _SECONDS, "Seconds after which a step is taken for a failure."),
    click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, expose_value=False,
        callback=_as_json, help="json: a line an entry, each request included.",
    ),
)  # fmt: skip


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def limits_of(options: dict[str, Any]) -> Limits:
    """The limits among a command's options, which are taken out."""
    names = [field.name for field in attrs.fields(Limits) if field.name in options]
    return Limits(**{name: options.pop(name) for name in names})
