"""Progress bars on standard error, shown only where somebody looks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from realizar.progress import Progress as ProgressCallback
from realizar.progress import silent

stderr = Console(stderr=True)


@contextlib.contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """A Progress callback that draws one bar per stage and removes them at the end; silent without a terminal."""
    if not stderr.is_terminal:
        yield silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield show
