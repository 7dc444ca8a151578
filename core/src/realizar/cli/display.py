"""Tables, and progress bars that are shown only where somebody looks; rich is imported only then."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator

from realizar.progress import Progress as ProgressCallback
from realizar.progress import silent


def print_table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Columns on standard output; one line a row unless a terminal is too narrow."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 240
    Console(markup=False, highlight=False, width=width).print(table)


@contextlib.contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """A Progress callback that draws one bar per stage and removes them at the end; silent without a terminal."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield show
