"""What `realizar parity` shows: each step as it happens, and a summary of where results parted."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterator

from rich.box import ROUNDED
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from realizar.parity import Finding, Repetition

LATEST = 16
"""Rows of the live view."""


class ParityTable:
    """Collects findings: the latest ones and all bad ones to show, the others as counts."""

    def __init__(self, candidate: str, reference: str) -> None:
        self._title = f"{candidate} against {reference}"
        self._latest: deque[Finding | Repetition] = deque(maxlen=LATEST)
        self._bad: list[Finding | Repetition] = []
        self._worst: dict[str, Finding] = {}
        self._compared = self._repeated = 0
        self._live: Live | None = None

    def add(self, finding: Finding | Repetition) -> None:
        """Take a finding, and show it where somebody watches."""
        self._latest.append(finding)
        if not finding.ok:
            self._bad.append(finding)
        if isinstance(finding, Repetition):
            self._repeated += 1
        else:
            self._compared += 1
            kind = finding.unit.partition(": ")[2].partition(" ")[0] or finding.unit
            self._worst[kind] = max(self._worst.get(kind, finding), finding, key=lambda f: f.error)
        if self._live is not None:
            self._live.update(self._watched())

    def _watched(self) -> RenderableType:
        return Group(_table(self._title, self._latest), Text(self._counts()))

    def summary(self) -> RenderableType:
        """The worst finding of each op, everything that is bad, in order, and the counts."""
        parts: list[RenderableType] = [_table(f"{self._title}: the worst of each op", self._worst.values())]
        if self._bad:
            parts.append(_table("beyond the tolerance, the first one first", self._bad[:LATEST]))
        return Group(*parts, Text(self._counts()))

    def _counts(self) -> str:
        bad = f"{len(self._bad)} bad" if self._bad else "all good"
        return f"{self._compared} results compared, {self._repeated} ops repeated: {bad}"


@contextlib.contextmanager
def parity_table(candidate: str, reference: str, *, live: bool) -> Iterator[ParityTable]:
    """A table that is drawn as it grows if `live`, and its summary at the end."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    table = ParityTable(candidate, reference)
    if live:
        with Live(console=console, refresh_per_second=8, transient=True) as view:
            table._live = view
            yield table
    else:
        yield table
    console.print(table.summary())


def _table(title: str, findings: object) -> Table:
    table = Table(title=title, title_justify="left", box=ROUNDED)
    for name in ("step", "unit", "shape", "error", "free run", ""):
        table.add_column(name, overflow="fold")
    for finding in findings:  # type: ignore[attr-defined]
        table.add_row(*_row(finding), style=None if finding.ok else "bold red")
    return table


def _row(finding: Finding | Repetition) -> tuple[str, ...]:
    verdict = "ok" if finding.ok else finding.diagnosis or ""
    if isinstance(finding, Repetition):
        times = f"{finding.runs} runs again" if finding.ok else f"{finding.differing} of {finding.runs} runs differ"
        return "again", finding.unit, f"{finding.rows} rows", times, "", verdict
    shape = f"{finding.rows} x {finding.columns}"
    return str(finding.step), finding.unit, shape, f"{finding.error:.1e}", f"{finding.free_error:.1e}", verdict
