"""How often each mechanism had to act."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge

from realizar_aiohttp.problem import Problem


class Counters:
    """Metrics of what was refused, and of what failed and was mended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, label: str) -> Counter:
            return Counter(f"realizar_{name}", text, [label], registry=registry)

        self.refused = counter("refused", "Requests, or prompts of them, that were refused, by why.", "reason")
        self.opened = counter("breaker_opened", "Times that a model was left alone for its failures.", "model")
        self.fallbacks = counter("fallbacks", "Prompts that another backend answered.", "model")
        self.restarts = counter("engine_restarts", "Engines started again after their thread failed.", "model")
        self.stalls = counter("engine_stalls", "Steps that took longer than any may.", "model")
        self.late = counter("deadlines_exceeded", "Prompts that were not done in their time.", "model")
        self.degradations = counter(
            "degradations", "Times that the server began to do less for want of memory.", "step"
        )
        self.level = Gauge("realizar_degradation_level", "Steps of doing less that hold now.", registry=registry)
        self.breaker = Gauge(
            "realizar_breaker_state", "0: closed, 1: half-open, 2: open.", ["model"], registry=registry
        )

    def refusal(self, reason: str, message: str, retry_after_s: float, *, status: int = 429, hint: str = "") -> Problem:
        """A problem that says when to come again; counted under `reason`, which is its code too."""
        self.refused.labels(reason).inc()
        headers = {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
        return Problem(status=status, code=reason, message=message, hint=hint or None, headers=headers)
