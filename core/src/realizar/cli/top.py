"""`realizar top`: a running server, watched in the terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from realizar.cli.server_state import fetch_state

BLOCKS_WIDTH = 60
"""Characters that stand for all blocks of a cache."""


@click.command("top")
@click.argument("url", default="http://127.0.0.1:8080")
@click.option("--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Print the state once and end.")
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def top_command(url: str, interval: float, once: bool, api_key_file: Path | None) -> None:
    """Show what the server at URL is doing: batch, cache, speed. Ctrl-C ends it."""
    key = None if api_key_file is None else api_key_file.read_text(encoding="utf-8").strip()
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    if once:
        console.print(rendered(asyncio.run(fetch_state(url, key))))
        return
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as view:
        asyncio.run(_watch(view, url, key, interval))


async def _watch(view: Live, url: str, key: str | None, interval: float) -> None:
    while True:
        view.update(rendered(await fetch_state(url, key)), refresh=True)
        await asyncio.sleep(interval)


def rendered(state: dict[str, Any]) -> RenderableType:
    """The state as a page of the terminal."""
    head = f"{state['open_requests']} open requests{', ending' if state['draining'] else ''}"
    return Group(Text(head, style="bold"), *(part for model in state["models"] for part in _model(model)))


def _model(model: dict[str, Any]) -> Iterator[RenderableType]:
    stats = model["stats"]
    if stats is None:
        yield Text(f"\n{model['id']}: not loaded", style="dim")
        return
    rate = stats["step_tokens"] / stats["step_s"] if stats["step_s"] else 0.0
    name = model["id"] if model["alive"] else f"{model['id']} (stopped)"
    yield Text(
        f"\n{name}: {stats['running']} running, {stats['waiting']} waiting, "
        f"{rate:.0f} tokens/s in the last step of {stats['step_tokens']}"
    )
    yield _blocks(stats)
    yield Text(
        f"prompt tokens found again {stats['prefix_hits']} of {stats['prefix_queries']}, "
        f"given way {stats['preemptions']}, guesses right {stats['accepted_tokens']} of {stats['drafted_tokens']}",
        style="dim",
    )
    if model["sequences"]:
        yield _sequences(model["sequences"])


def _blocks(stats: dict[str, Any]) -> Text:
    """The cache as a bar: used, free but still of use, free."""
    total = max(1, stats["blocks_total"])
    used = round(BLOCKS_WIDTH * stats["blocks_used"] / total)
    cached = min(BLOCKS_WIDTH - used, round(BLOCKS_WIDTH * stats["blocks_cached"] / total))
    bar = Text("█" * used, style="blue")
    bar.append("█" * cached, style="green").append("░" * (BLOCKS_WIDTH - used - cached), style="dim")
    return bar.append(
        f" {stats['blocks_used']} of {stats['blocks_total']} blocks, {stats['blocks_cached']} to use again"
    )


def _sequences(sequences: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("request", "state", "computed", "tokens", "most", "priority"):
        table.add_column(name, justify="left" if name == "state" else "right")
    for one in sequences:
        state = "waiting" if one["waiting"] else "prefill" if one["tokens"] - one["computed"] > 1 else "decode"
        table.add_row(
            *(str(x) for x in (one["id"], state, one["computed"], one["tokens"], one["max_tokens"], one["priority"]))
        )
    return table
