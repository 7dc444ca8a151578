"""The `realizar` command: finds the subcommand, runs it, turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import logging
import sys
from importlib.metadata import version as distribution_version

import click

from realizar.errors import RealizarError

COMMANDS = {
    "run": "run", "chat": "chat", "serve": "serve", "embed": "embed", "tokenize": "tokenize", "inspect": "inspect",
    "bench": "bench", "explain": "explain", "parity": "parity", "plan": "plan", "perplexity": "perplexity",
    "plugins": "plugins", "warmup": "warmup", "bench-serve": "bench_serve", "top": "top",
    "doctor": "doctor",
    "convert": "convert", "quantize": "convert", "verify": "verify", "pull": "models",
    "list": "models", "rm": "models", "show": "models", "version": "version",
}  # fmt: skip
"""Command -> module of this package; a module is imported when its command is used."""


class LazyGroup(click.Group):
    """A group whose commands are imported on first use, so that the CLI starts light."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"realizar.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--list-plugins", is_flag=True, help="List every plugin with its status (the same as: realizar plugins).")
@click.option("--json", "as_json", is_flag=True, help="With --list-plugins: JSON.")
@click.option("--strict", is_flag=True, help="With --list-plugins: exit 1 if any plugin failed or was refused.")
@click.option("-v", "--verbose", is_flag=True, help="Show what is being decided, and tracebacks of failed plugins.")
@click.version_option(distribution_version("realizar-core"), prog_name="realizar")
@click.pass_context
def cli(ctx: click.Context, list_plugins: bool, as_json: bool, strict: bool, verbose: bool) -> None:
    """An LLM inference engine made of plugins."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)
    if list_plugins:
        from realizar.cli.plugins import print_plugins

        ctx.exit(print_plugins(as_json=as_json, strict=strict, verbose=verbose))
    if as_json or strict:
        raise click.UsageError(
            "--json and --strict belong to --list-plugins, or to the command: realizar plugins --json"
        )
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Entry point. Exit codes: 0 ok, 1 failed, 2 usage, 130 interrupted."""
    try:
        code = cli.main(standalone_mode=False)
    except RealizarError as error:
        click.echo(f"error: {error}", err=True)
        code = 1
    except click.UsageError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        error.show()
        code = 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        # The reader went away; nothing is left to say, and the interpreter must not try to flush.
        sys.stdout = None
        code = 1
    except (OSError, UnicodeError) as error:
        # A text that is not UTF-8, a trace file in a folder that is not there: the user's to mend.
        click.echo(f"error: {error}", err=True)
        code = 1
    sys.exit(code or 0)
