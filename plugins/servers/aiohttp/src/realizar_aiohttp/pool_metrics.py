"""What the cache of models did: loads, unloads, and the memory that models take."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from realizar.model_pool import ModelPool


class PoolMetrics(Collector):
    """Counters of `ModelCache`, read when they are asked for."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        """Every id has a series from the start, so that rates are right from the first event."""
        cache, ids = self._pool.cache, self._pool.ids
        counts, loaded = cache.counts, {model.id: model for model in cache.models}
        present = GaugeMetricFamily("realizar_model_loaded", "Whether the model is in memory.", labels=["model"])
        loads = CounterMetricFamily("realizar_model_loads", "Loads that succeeded.", labels=["model"])
        failures = CounterMetricFamily("realizar_model_load_failures", "Loads that failed.", labels=["model"])
        seconds = CounterMetricFamily("realizar_model_load_seconds", "Seconds of loading.", labels=["model"])
        unloads = CounterMetricFamily(
            "realizar_model_unloads", "Unloads, by why: room for another, idle, reload.", labels=["model", "why"]
        )
        for name in ids:
            present.add_metric([name], name in loaded)
            loads.add_metric([name], counts.loads[name])
            failures.add_metric([name], counts.failures[name])
            seconds.add_metric([name], counts.load_s.get(name, 0.0))
            for why in ("room", "idle", "reload"):
                unloads.add_metric([name, why], counts.unloads[name, why])
        taken = GaugeMetricFamily("realizar_models_memory_bytes", "Bytes promised to models.", value=cache.nbytes)
        found = [present, loads, failures, seconds, unloads, taken]
        if cache.budget_nbytes is not None:
            text = "Bytes that all models may take."
            found.append(GaugeMetricFamily("realizar_models_memory_budget_bytes", text, value=cache.budget_nbytes))
        return found
