"""What was measured, and the numbers that are told about it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from realizar.backend import Floor
from realizar.bench.case import Case
from realizar.bench.measure import Sample


@attrs.frozen
class Result:
    """One case, round by round.

    peer: the other engine's tokens a second in the same rounds. floor: the most that the machine would have allowed.
    Both are empty where that was not measured.
    """

    case: Case
    samples: Sequence[Sample]
    peer: Sequence[float] = ()
    floor: Sequence[float] = ()

    @property
    def speeds(self) -> list[float]:
        """Tokens a second of each round."""
        return [sample.tokens_per_s for sample in self.samples]

    @property
    def tokens_per_s(self) -> float:
        """The median round."""
        return statistics.median(self.speeds)

    def row(self) -> dict[str, int | float | None]:
        """Every number under the name that JSON and CSV give it.

        Times in milliseconds; speeds are medians and ratio is theirs; ratio_lowest and ratio_highest are of single
        rounds. floor_fraction is the median of the rounds' own: memory may be fast in one and slow in the next.
        """
        case = self.case
        row: dict[str, int | float | None] = {
            "n_prompt": case.n_prompt, "n_gen": case.n_gen, "n_depth": case.n_depth, "n_batch": case.n_batch,
            "threads": case.threads, "tokens_per_s": self.tokens_per_s, "stddev": _stddev(self.speeds),
            "lowest": min(self.speeds), "highest": max(self.speeds),
        }  # fmt: skip
        return row | self._latency() | self._comparison() | self._fraction()

    def _latency(self) -> dict[str, float]:
        token_s = [s for sample in self.samples for s in sample.token_s]
        if not token_s:
            return {}
        p50, p99 = (1e3 * np.percentile(token_s, [50, 99])).tolist()
        return {"p50_ms": p50, "p99_ms": p99}

    def _comparison(self) -> dict[str, float]:
        if not self.peer:
            return {}
        peer, ratios = statistics.median(self.peer), self._ratios(self.peer)
        return {
            "peer_tokens_per_s": peer, "peer_stddev": _stddev(self.peer), "ratio": self.tokens_per_s / peer,
            "ratio_lowest": min(ratios), "ratio_highest": max(ratios),
        }  # fmt: skip

    def _fraction(self) -> dict[str, float]:
        if not self.floor:
            return {}
        fraction = statistics.median(self._ratios(self.floor))
        return {"floor_tokens_per_s": statistics.median(self.floor), "floor_fraction": fraction}

    def _ratios(self, others: Sequence[float]) -> list[float]:
        return [ours / other for ours, other in zip(self.speeds, others, strict=True)]


@attrs.frozen
class Report:
    """Results of one model. floors: by thread count, all passes of all rounds. peer: name of the other engine."""

    model: str
    backend: str
    results: Sequence[Result]
    floors: Mapping[int | None, Floor] = attrs.field(factory=dict)
    peer: str = ""


def _stddev(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
