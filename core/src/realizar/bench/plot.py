"""A report as a picture."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from realizar.bench.case import Case
from realizar.bench.result import Report, Result
from realizar.errors import RealizarError

_SWEEPS = {
    "n_depth": "tokens in the cache", "n_batch": "sequences side by side", "threads": "threads",
    "n_prompt": "tokens of the prompt", "n_gen": "tokens decoded",
}  # fmt: skip
"""Field of Case -> label of the axis along which it varies, the first that does."""


class Plot:
    """A picture to be. path: ends in .png or .svg. Raises RealizarError where matplotlib is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._figure = importlib.import_module("matplotlib.figure").Figure
        except ImportError as error:
            raise RealizarError(f"a plot needs matplotlib ({error}); run: pip install matplotlib") from error

    def write(self, report: Report) -> None:
        """Prefill and decode side by side: lines along a sweep, bars without one."""
        kinds = {
            "prefill": [result for result in report.results if result.case.n_prompt],
            "decode": [result for result in report.results if result.case.n_gen],
        }
        shown = {title: results for title, results in kinds.items() if results}
        figure = self._figure(figsize=(6 * len(shown), 4), layout="constrained")
        axes = figure.subplots(1, len(shown), squeeze=False)[0]
        for axis, (title, results) in zip(axes, shown.items(), strict=True):
            axis.set(title=title, ylabel="tokens/s")
            _draw(axis, results, report)
            axis.set_ylim(bottom=0)
            axis.legend()
        figure.suptitle(report.model)
        figure.savefig(self._path)


def _draw(axis: Any, results: Sequence[Result], report: Report) -> None:
    sweep = next((name for name in _SWEEPS if len({getattr(result.case, name) for result in results}) > 1), None)
    if sweep is None:
        for (label, _), height in zip(_engines(report), _heights(results[0]), strict=True):
            axis.bar(label, height, label=label)
        return
    axis.set_xlabel(_SWEEPS[sweep])
    for rest in dict.fromkeys(_without(result.case, sweep) for result in results):
        series = [result for result in results if _without(result.case, sweep) == rest]
        places = [getattr(result.case, sweep) or 0 for result in series]
        for number, (label, style) in enumerate(_engines(report)):
            heights = [_heights(result)[number] for result in series]
            axis.plot(places, heights, style, marker="o", label=f"{label} {_tag(rest)}".strip())


def _engines(report: Report) -> list[tuple[str, str]]:
    """Label and line style of each engine."""
    return [("realizar", "-"), *([(report.peer, "--")] if report.peer else [])]


def _heights(result: Result) -> list[float]:
    row = result.row()
    return [float(row[name] or 0) for name in ("tokens_per_s", "peer_tokens_per_s") if name in row]


def _without(case: Case, sweep: str) -> Case:
    """The case with the swept field at rest, so that a line's cases are equal."""
    return attrs.evolve(case, **{sweep: 1 if sweep == "n_batch" else 0})


def _tag(case: Case) -> str:
    """What tells one line from another."""
    parts = [f"pp{case.n_prompt}" if case.n_prompt else "", f"tg{case.n_gen}" if case.n_gen else ""]
    parts += [f"x{case.n_batch}" if case.n_batch > 1 else "", f"d{case.n_depth}" if case.n_depth else ""]
    return " ".join([part for part in parts if part] + ([f"{case.threads} threads"] if case.threads else []))
