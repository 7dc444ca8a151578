"""`realizar plugins`: every plugin, what it contributes and whether it works."""

from __future__ import annotations

import json

import click

from realizar.cli.display import print_table
from realizar.errors import RealizarError
from realizar.hookspecs import API
from realizar.plugins import Record, host
from realizar.selection import choose_backend


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.option("--strict", is_flag=True, help="Exit 1 if any plugin failed or was refused.")
@click.option("-v", "--verbose", is_flag=True, help="Show tracebacks of failed plugins.")
@click.pass_context
def plugins_command(ctx: click.Context, as_json: bool, strict: bool, verbose: bool) -> None:
    """List every plugin with its status."""
    ctx.exit(print_plugins(as_json=as_json, strict=strict, verbose=verbose))


def print_plugins(*, as_json: bool, strict: bool, verbose: bool) -> int:
    """Print all records; returns the exit code."""
    records = host().records
    try:
        backend, reason = choose_backend()
        chosen, why = backend.name, f"backend {backend.name} would be chosen: {reason}"
    except RealizarError as error:
        chosen, why = None, str(error)
    if as_json:
        rows = [_row(record, chosen) for record in records]
        click.echo(json.dumps({"api": ".".join(map(str, API)), "plugins": rows}, indent=1))
    else:
        _print_table(records, chosen)
        click.echo(why)
    if verbose:
        for record in records:
            if record.traceback:
                click.echo(f"\n{record.name}:\n{record.traceback}", err=True)
    return int(strict and any(record.status in ("failed", "refused") for record in records))


def _is_chosen(record: Record, chosen: str | None) -> bool:
    return (record.kind, record.name, record.status) == ("backend", chosen, "ok")


def _row(record: Record, chosen: str | None) -> dict[str, object]:
    keys = ("name", "kind", "distribution", "version", "status", "detail")
    return {**{key: getattr(record, key) for key in keys}, "chosen": _is_chosen(record, chosen)}


def _print_table(records: list[Record], chosen: str | None) -> None:
    def detail(record: Record) -> str:
        return f"{record.detail} (chosen)" if _is_chosen(record, chosen) else record.detail

    print_table(
        ("NAME", "KIND", "DISTRIBUTION", "STATUS", "DETAIL"),
        ((r.name, r.kind, f"{r.distribution} {r.version}", r.status, detail(r)) for r in records),
    )
