"""`realizar pull|list|rm|show`: models by name."""

from __future__ import annotations

import click

from realizar import store
from realizar.cli.display import print_table, progress_bars


@click.command("pull")
@click.argument("name")
def pull_command(name: str) -> None:
    """Download and verify the model NAME: one that `realizar list` shows, hf://ORG/REPO, or https://...#sha256=..."""
    with progress_bars() as progress:
        path = store.pull(name, progress)
    click.echo(str(path))


@click.command("list")
def list_command() -> None:
    """List the known models and which of them are here."""
    rows = [
        (
            stored.name, stored.status, "" if stored.size is None else f"{stored.size / 1e6:.0f} MB",
            stored.source.origin, stored.source.description if isinstance(stored.source, store.Alias) else "",
        )
        for stored in store.list_models()
    ]  # fmt: skip
    print_table(("NAME", "STATUS", "SIZE", "FROM", "DESCRIPTION"), rows)


@click.command("rm")
@click.argument("name")
def rm_command(name: str) -> None:
    """Delete the downloaded model NAME."""
    with progress_bars() as progress:
        nbytes = store.remove(name, progress)
    click.echo(f"removed {name}, {nbytes / 1e6:.0f} MB freed")


@click.command("show")
@click.argument("name")
@click.option("--check", is_flag=True, help="Verify all bytes against the SHA-256 of each file.")
def show_command(name: str, check: bool) -> None:
    """Show where the model NAME comes from and whether it is here."""
    with progress_bars() as progress:
        stored = store.show(name, check_sha256=check, progress=progress)
    rows: dict[str, object] = {"name": stored.name}
    if isinstance(stored.source, store.Alias):
        alias = stored.source
        rows |= {"description": alias.description, "license": alias.license, "terms": alias.terms}
    rows |= {
        "from": stored.receipt.origin if stored.receipt else stored.source.origin,
        "status": stored.status, "path": stored.path, "problem": stored.detail,
    }  # fmt: skip
    for key, value in rows.items():
        if value != "":
            click.echo(f"{key:12} {value}")
    files = stored.receipt.files if stored.receipt else stored.source.pins(None) or {}
    for name, pin in files.items():
        click.echo(f"{'sha256':12} {pin.sha256}  {name}, {pin.size} bytes")
