"""What became of the requests, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs
import numpy as np


@attrs.frozen
class RequestRecord:
    """One request, times in seconds since the load began.

    sent_s: when it was sent, or should have been in an open loop. token_s: when each piece of text came.
    prompt_tokens, output_tokens: as the server counts them; pieces where it does not say.
    failure: an HTTP status or the name of an error; None if the answer was whole.
    """

    sent_s: float
    done_s: float
    token_s: tuple[float, ...] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    failure: str | None = None


@attrs.frozen
class Percentiles:
    """Of one latency, in seconds."""

    p50: float
    p90: float
    p99: float
    largest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles:
        """Linear between samples; NaN of none."""
        if not seconds:
            return cls(*[float("nan")] * 4)
        p50, p90, p99 = np.percentile(seconds, [50, 90, 99]).tolist()
        return cls(p50, p90, p99, max(seconds))


@attrs.frozen
class LoadReport:
    """A whole run. Rates are over its duration, from the first request to the last answer."""

    records: tuple[RequestRecord, ...]

    @property
    def whole(self) -> list[RequestRecord]:
        """The requests that were answered."""
        return [record for record in self.records if record.failure is None]

    @property
    def failures(self) -> dict[str, int]:
        """How many requests failed of what."""
        return dict(Counter(record.failure for record in self.records if record.failure is not None))

    @property
    def duration_s(self) -> float:
        """From the first request to the last answer."""
        if not self.records:
            return 0.0
        return max(record.done_s for record in self.records) - min(record.sent_s for record in self.records)

    @property
    def output_tokens_per_s(self) -> float:
        """Tokens of whole answers a second."""
        return sum(record.output_tokens for record in self.whole) / (self.duration_s or float("nan"))

    @property
    def requests_per_s(self) -> float:
        """Whole answers a second."""
        return len(self.whole) / (self.duration_s or float("nan"))

    @property
    def prompt_tokens(self) -> float:
        """The mean length of a prompt."""
        return float(np.mean([record.prompt_tokens for record in self.whole])) if self.whole else 0.0

    @property
    def latencies(self) -> dict[str, Percentiles]:
        """Time to first token, between tokens, and to the end of a request."""
        return {
            "first token": Percentiles.of([r.token_s[0] - r.sent_s for r in self.whole if r.token_s]),
            "between tokens": Percentiles.of([gap for r in self.whole for gap in np.diff(r.token_s).tolist()]),
            "whole request": Percentiles.of([r.done_s - r.sent_s for r in self.whole]),
        }

    def summary(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "requests": len(self.records), "failures": self.failures, "duration_s": self.duration_s,
            "output_tokens_per_s": self.output_tokens_per_s, "requests_per_s": self.requests_per_s,
            "mean_prompt_tokens": self.prompt_tokens,
            "latencies_s": {name: attrs.asdict(percentiles) for name, percentiles in self.latencies.items()},
        }  # fmt: skip
