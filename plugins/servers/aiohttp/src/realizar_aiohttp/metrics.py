"""What is counted, and under which names it is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from realizar.engine import Piece
from realizar.model_pool import ModelPool
from realizar_aiohttp.recent import Recent

_SHORT = (.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640)  # fmt: skip
_LONG = (.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920)  # fmt: skip
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)
"""Buckets, as vLLM has them, so that its dashboards show what they should."""

VLLM_NAMES: Mapping[str, str] = {
    "realizar_requests_running": "vllm:num_requests_running",
    "realizar_requests_waiting": "vllm:num_requests_waiting",
    "realizar_kv_cache_usage_ratio": "vllm:kv_cache_usage_perc",
    "realizar_prompt_tokens": "vllm:prompt_tokens",
    "realizar_generation_tokens": "vllm:generation_tokens",
    "realizar_generations_finished": "vllm:request_success",
    "realizar_time_to_first_token_seconds": "vllm:time_to_first_token_seconds",
    "realizar_inter_token_latency_seconds": "vllm:inter_token_latency_seconds",
    "realizar_generation_seconds": "vllm:e2e_request_latency_seconds",
    "realizar_prefill_seconds": "vllm:request_prefill_time_seconds",
    "realizar_decode_seconds": "vllm:request_decode_time_seconds",
    "realizar_request_prompt_tokens": "vllm:request_prompt_tokens",
    "realizar_request_generation_tokens": "vllm:request_generation_tokens",
}
"""Our names -> vLLM's for the same thing (its /metrics, version 0.33)."""


class Metrics:
    """The counters and histograms of one server."""

    def __init__(self, pool: ModelPool, *, vllm_names: bool = False) -> None:
        self.registry = registry = CollectorRegistry()
        model = ["model"]
        self.requests = Counter(
            "realizar_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "realizar_http_request_seconds", "Seconds from request to end of response.", ["route"],
            buckets=_SHORT, registry=registry,
        )  # fmt: skip
        self.finished = Counter(
            "realizar_generations_finished", "Generations that ended, by why.", ["model", "finished_reason"],
            registry=registry,
        )  # fmt: skip
        self.prompt_tokens = Counter("realizar_prompt_tokens", "Tokens of prompts.", model, registry=registry)
        self.generation_tokens = Counter("realizar_generation_tokens", "Tokens generated.", model, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"realizar_{name}", text, model, buckets=buckets, registry=registry)

        self.first_token = histogram("time_to_first_token_seconds", "Seconds to the first token.", _SHORT)
        self.inter_token = histogram("inter_token_latency_seconds", "Seconds between tokens.", _SHORT)
        self.total = histogram("generation_seconds", "Seconds from submission to the last token.", _LONG)
        self.prefill = histogram("prefill_seconds", "Seconds of computing the prompt.", _LONG)
        self.decode = histogram("decode_seconds", "Seconds of computing what follows the first token.", _LONG)
        self.request_prompt = histogram("request_prompt_tokens", "Tokens of a prompt.", _TOKENS)
        self.request_generation = histogram("request_generation_tokens", "Tokens of an answer.", _TOKENS)
        self.recent = Recent()
        registry.register(_EngineGauges(pool))
        self._vllm = CollectorRegistry()
        if vllm_names:
            self._vllm.register(_Renamed(registry, VLLM_NAMES))

    def text(self) -> bytes:
        """The exposition in Prometheus's text format, version 0.0.4."""
        return generate_latest(self.registry) + generate_latest(self._vllm)

    @contextlib.contextmanager
    def generation(self, model: str) -> Iterator[Meter]:
        """A meter for one generation; leaving without a completion counts as aborted, or as an error if it was one."""
        meter = Meter(self, model)
        try:
            yield meter
        except (asyncio.CancelledError, GeneratorExit):
            meter.end("abort")
            raise
        except Exception:
            meter.end("error")
            raise


class Meter:
    """Notes the pieces of one generation."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics, self._model = metrics, model
        self._started_s = time.perf_counter()
        self._last_s: float | None = None
        self._ended = False

    def piece(self, piece: Piece) -> None:
        """Note a piece; the last one ends the generation."""
        metrics, now = self._metrics, time.perf_counter()
        if self._last_s is not None:
            metrics.inter_token.labels(self._model).observe(now - self._last_s)
        self._last_s = now
        metrics.generation_tokens.labels(self._model).inc(len(piece.token_ids))
        if piece.completion is None:
            return
        completion, timings = piece.completion, piece.completion.timings
        metrics.first_token.labels(self._model).observe(timings.ttft_s)
        metrics.prefill.labels(self._model).observe(timings.prefill_s)
        metrics.decode.labels(self._model).observe(timings.decode_s)
        metrics.recent.add(now - self._started_s, len(completion.token_ids))
        metrics.total.labels(self._model).observe(now - self._started_s)
        metrics.prompt_tokens.labels(self._model).inc(timings.prompt_tokens)
        metrics.request_prompt.labels(self._model).observe(timings.prompt_tokens)
        metrics.request_generation.labels(self._model).observe(len(completion.token_ids))
        self.end(completion.finish_reason)

    def end(self, reason: str) -> None:
        """Count the end once."""
        if not self._ended:
            self._ended = True
            self._metrics.finished.labels(self._model, reason).inc()


class _EngineGauges(Collector):
    """What the engines hold at the moment they are asked."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        running = GaugeMetricFamily("realizar_requests_running", "Sequences being computed.", labels=["model"])
        waiting = GaugeMetricFamily("realizar_requests_waiting", "Sequences in the queue.", labels=["model"])
        usage = GaugeMetricFamily("realizar_kv_cache_usage_ratio", "Share of cache blocks held.", labels=["model"])
        for model in self._pool.loaded:
            stats = model.llm.stats()
            running.add_metric([model.id], stats.num_running)
            waiting.add_metric([model.id], stats.num_waiting)
            usage.add_metric([model.id], 1 - stats.num_free_blocks / stats.num_blocks)
        return (running, waiting, usage)


class _Renamed(Collector):
    """The metrics of another registry under other names, with vLLM's labels."""

    def __init__(self, source: CollectorRegistry, names: Mapping[str, str]) -> None:
        self._source, self._names = source, names

    def collect(self) -> Iterator[Metric]:
        for metric in self._source.collect():
            if metric.name in self._names:
                yield self._renamed(metric, self._names[metric.name])

    def _renamed(self, metric: Metric, name: str) -> Metric:
        renamed = Metric(name, metric.documentation, metric.type)
        for sample in metric.samples:
            labels = {"model_name" if key == "model" else key: value for key, value in sample.labels.items()}
            suffix = sample.name.removeprefix(metric.name)
            renamed.samples.append(Sample(name + suffix, {**labels, "engine": "0"}, sample.value, sample.timestamp))
        return renamed
