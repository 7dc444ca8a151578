"""A report as text: columns for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterator, Sequence

import attrs

from realizar.backend import Floor
from realizar.bench.result import Report, Result


def to_json(report: Report) -> str:
    """An object: "results" has `Result.row` of each case; "floor" one object a thread count, where measured."""
    content: dict[str, object] = {"model": report.model, "backend": report.backend}
    if report.peer:
        content["peer"] = report.peer
    if report.floors:
        content["floor"] = [{"threads": threads} | attrs.asdict(floor) for threads, floor in report.floors.items()]
    return json.dumps(content | {"results": [result.row() for result in report.results]})


def to_csv(report: Report) -> str:
    """A line of titles and a line for each case, with the names that `to_json` uses."""
    rows = [{"model": report.model, "backend": report.backend} | result.row() for result in report.results]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def to_markdown(report: Report) -> str:
    """The columns as a table, the remarks under it."""
    titles, rows = columns(report)
    lines = [_markdown_row(titles), _markdown_row(["---"] + ["---:"] * (len(titles) - 1))]
    lines += [_markdown_row(row) for row in rows]
    return "\n".join([*lines, *(f"\n{remark}" for remark in remarks(report))])


def columns(report: Report) -> tuple[list[str], list[list[str]]]:
    """Titles and cells; only columns that some case has."""
    cells = [dict(_cells(result, report.peer)) for result in report.results]
    titles = [title for title in _titles(report.peer) if any(title in row for row in cells)]
    return titles, [[row.get(title, "") for title in titles] for row in cells]


def remarks(report: Report) -> Iterator[str]:
    """What the columns are measured against, one line a thread count."""
    for threads, floor in report.floors.items():
        yield f"threads {_threads(threads)}: {floor_line(floor)}"


def floor_line(floor: Floor) -> str:
    """Reading and computing, best and median."""
    reading, dots = floor.bytes_per_s, floor.int8_ops_per_s
    return (
        f"reads {max(reading) / 1e9:.1f} GB/s at best, {statistics.median(reading) / 1e9:.1f} in the median of "
        f"{len(reading)} passes; int8 dot products {max(dots) / 1e9:.0f} GOP/s"
    )


def line(result: Result) -> str:
    """One case in one line."""
    row = result.row()
    speed = f"{result.tokens_per_s:10.2f} ± {row['stddev']:.2f} tokens/s"
    return f"{result.case.name:>8}  threads {_threads(result.case.threads):>3}  {speed}"


def _titles(peer: str) -> list[str]:
    return ["test", "threads", "tokens/s", "±", "p50 ms", "p99 ms", peer, "ratio", "lowest", "highest", "of floor"]


def _cells(result: Result, peer: str) -> Iterator[tuple[str, str]]:
    row = result.row()
    yield "test", result.case.name
    yield "threads", _threads(result.case.threads)
    formats = {
        "tokens/s": ("tokens_per_s", ".1f"), "±": ("stddev", ".1f"), "p50 ms": ("p50_ms", ".2f"),
        "p99 ms": ("p99_ms", ".2f"), peer: ("peer_tokens_per_s", ".1f"), "ratio": ("ratio", ".2f"),
        "lowest": ("ratio_lowest", ".2f"), "highest": ("ratio_highest", ".2f"), "of floor": ("floor_fraction", ".2f"),
    }  # fmt: skip
    for title, (name, style) in formats.items():
        if name in row:
            yield title, format(row[name], style)


def _threads(threads: int | None) -> str:
    return "all" if threads is None else str(threads)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
