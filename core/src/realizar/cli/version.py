"""`realizar version`."""

from __future__ import annotations

import platform
from importlib.metadata import distributions

import click


@click.command("version")
def version_command() -> None:
    """Print the versions of realizar's distributions, Python and NumPy."""
    found = {d.name: d.version for d in distributions() if d.name.startswith("realizar") or d.name == "numpy"}
    for name in sorted(found):
        click.echo(f"{name} {found[name]}")
    click.echo(f"python {platform.python_version()} on {platform.platform()}")
