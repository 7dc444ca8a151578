"""What is counted, and under which names it is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from realizar.engine import Piece
from realizar.model_pool import ModelPool
from realizar_aiohttp.pool_metrics import PoolMetrics
from realizar_aiohttp.recent import Recent

_SHORT = (.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640)  # fmt: skip
_LONG = (.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920)  # fmt: skip
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)
"""Buckets, as vLLM has them, so that its dashboards show what they should."""

VLLM_NAMES: Mapping[str, str] = {
    "realizar_requests_running": "vllm:num_requests_running",
    "realizar_requests_waiting": "vllm:num_requests_waiting",
    "realizar_kv_cache_usage_ratio": "vllm:kv_cache_usage_perc",
    "realizar_preemptions": "vllm:num_preemptions",
    "realizar_prefix_queries": "vllm:prefix_cache_queries",
    "realizar_prefix_hits": "vllm:prefix_cache_hits",
    "realizar_drafted_tokens": "vllm:spec_decode_num_draft_tokens",
    "realizar_accepted_tokens": "vllm:spec_decode_num_accepted_tokens",
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
        registry.register(PoolMetrics(pool))
        self._vllm = CollectorRegistry()
        if vllm_names:
            self._vllm.register(_Renamed(registry, VLLM_NAMES))

    def text(self) -> bytes:
        """The exposition in Prometheus's text format, version 0.0.4."""
        return generate_latest(self.registry) + generate_latest(self._vllm)

    @contextlib.contextmanager
    def generation(self, model: str, n: int) -> Iterator[Meter]:
        """A meter for `n` answers to a prompt; those without a completion count as aborted, or as failed."""
        meter = Meter(self, model, n)
        try:
            yield meter
        except (asyncio.CancelledError, GeneratorExit):
            meter.end("abort")
            raise
        except Exception:
            meter.end("error")
            raise


class Meter:
    """Notes the pieces of the answers to one prompt."""

    def __init__(self, metrics: Metrics, model: str, n: int) -> None:
        self._metrics, self._model, self._left = metrics, model, n
        self._started_s = time.perf_counter()
        self._last_s: dict[int, float] = {}

    def piece(self, piece: Piece) -> None:
        """Note a piece; the last one of an answer ends it."""
        metrics, now = self._metrics, time.perf_counter()
        if piece.index in self._last_s:
            metrics.inter_token.labels(self._model).observe(now - self._last_s[piece.index])
        self._last_s[piece.index] = now
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
        self._left -= 1
        metrics.finished.labels(self._model, completion.finish_reason).inc()

    def end(self, reason: str) -> None:
        """Count the answers that have not ended by themselves."""
        if self._left:
            self._metrics.finished.labels(self._model, reason).inc(self._left)
        self._left = 0


class _EngineGauges(Collector):
    """What the engines hold at the moment they are asked."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        running = GaugeMetricFamily("realizar_requests_running", "Sequences being computed.", labels=["model"])
        waiting = GaugeMetricFamily("realizar_requests_waiting", "Sequences in the queue.", labels=["model"])
        usage = GaugeMetricFamily("realizar_kv_cache_usage_ratio", "Share of cache blocks held.", labels=["model"])
        counted = {name: CounterMetricFamily(f"realizar_{name}", text, labels=["model"]) for name, text in _COUNTED}
        for model in self._pool.loaded:
            stats = model.llm.stats
            running.add_metric([model.id], stats.running)
            waiting.add_metric([model.id], stats.waiting)
            usage.add_metric([model.id], stats.blocks_used / stats.blocks_total)
            for name, family in counted.items():
                family.add_metric([model.id], getattr(stats, name))
        return (running, waiting, usage, *counted.values())


_COUNTED = (
    ("preemptions", "Sequences that gave way and were computed again."),
    ("prefix_queries", "Tokens of admitted prompts."),
    ("prefix_hits", "Those of them that the prefix cache had."),
    ("steps", "Steps of the engine."),
    ("computed_tokens", "Tokens that went through the model."),
    ("drafted_tokens", "Guesses that were computed."),
    ("accepted_tokens", "Guesses that were right."),
    ("retried", "Steps that were tried again after a fault that passes."),
    ("corrupted", "Sequences that ended by logits that were no numbers."),
)
"""Counters of `EngineStats`, and what they say."""


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
