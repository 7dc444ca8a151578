"""Comparing with an earlier run: is anything slower than it was?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from realizar.bench.case import Case
from realizar.bench.result import Result
from realizar.errors import RealizarError

Baseline = Mapping[Case, float]
"""Tokens a second by case."""

_FIELDS = tuple(field.name for field in attrs.fields(Case))


@attrs.frozen
class Change:
    """One case then and now, in tokens a second; slower: by more than was allowed."""

    result: Result
    before: float
    slower: bool

    @property
    def fraction(self) -> float:
        """0.1 is ten percent faster."""
        return self.result.tokens_per_s / self.before - 1


def read_baseline(path: Path) -> Baseline:
    """The results of `realizar bench --format json`; raises RealizarError for anything else."""
    try:
        rows = json.loads(path.read_text())["results"]
        return {_case(row): float(row["tokens_per_s"]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise RealizarError(f"{path}: not the output of `realizar bench --format json`: {error}") from error


def changes(results: Sequence[Result], baseline: Baseline, threshold: float) -> list[Change]:
    """The cases that the baseline has too; threshold: the loss that is allowed, 0.05 for 5 %."""
    found = []
    for result in results:
        before = baseline.get(result.case)
        if before is not None:
            found.append(Change(result, before, result.tokens_per_s < before * (1 - threshold)))
    if not found:
        raise RealizarError(f"the baseline has none of these cases (the same {', '.join(_FIELDS)})")
    return found


def _case(row: Mapping[str, int]) -> Case:
    """Depth and batch may be absent: the first baselines had neither."""
    required = {name: row[name] for name in ("n_prompt", "n_gen", "threads")}
    return Case(**required, **{name: row[name] for name in ("n_depth", "n_batch") if name in row})
