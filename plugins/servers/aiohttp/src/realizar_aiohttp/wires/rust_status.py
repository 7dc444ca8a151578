"""What the Rust engine tells about itself: models, metrics, and the routes that have no meaning here (501)."""

from __future__ import annotations

import time
from typing import Any

import attrs
from aiohttp import web

from realizar.model_pool import ServedModel
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.managing import prove_managing
from realizar_aiohttp.problem import not_implemented, not_supported
from realizar_aiohttp.recent import Recent, percentile
from realizar_aiohttp.routes import Handler, Route
from realizar_aiohttp.wires.openai_embeddings import EmbeddingsRequest, embeddings


@attrs.frozen(kw_only=True)
class ReloadRequest:
    """A served model that is to be read again."""

    model: str | None = field(None, max_chars=512)
    path: str | None = field(None, "refused: a request cannot name a file", max_chars=4096)


async def models(call: Call[None]) -> web.Response:
    """Every model that is served."""
    formats = {model.id: model.llm.info.format for model in call.service.pool.loaded}
    listed = [
        {"id": name, "name": name, "description": "", "format": formats.get(name, ""), "loaded": name in formats}
        for name in call.service.pool.ids
    ]
    return call.json({"models": listed})


async def model(call: Call[None]) -> web.Response:
    """The default model; what it descends from no file says, so its lineage is what was read."""
    async with call.service.pool.lease() as found:
        return call.json(_described(found))


def _described(found: ServedModel) -> dict[str, Any]:
    info = found.llm.info
    lineage = {"uri": info.file_name, "version": None, "recipe": None, "parent": None, "content_hash": info.digest}
    return {
        "id": found.id, "name": found.id, "format": info.format, "size_bytes": info.nbytes,
        "quantization": info.weight_type, "context_length": found.llm.max_model_len, "lineage": lineage, "loaded": True,
    }  # fmt: skip


async def reload(call: Call[ReloadRequest]) -> web.Response:
    """Read a served model again, while requests go on; the answer comes when new ones get it."""
    prove_managing(call, "load a model anew")
    if call.body.path is not None:
        raise not_supported("path", "a request cannot name a file", "name a served model")
    pool = call.service.pool
    name = call.body.model or pool.ids[0]
    started_s = time.perf_counter()
    await pool.reload(name)
    took_ms = (time.perf_counter() - started_s) * 1e3
    return call.json({"success": True, "message": f"{name} was loaded anew", "reload_time_ms": round(took_ms)})


async def status(call: Call[None]) -> web.Response:
    """Speeds and latencies of the last generations; there is no GPU memory to tell of on a CPU (null)."""
    recent, latencies = call.service.metrics.recent, call.service.metrics.recent.latencies_s
    async with call.service.pool.lease() as found:
        stats = found.llm.stats
        percentiles = {f"latency_p{p}_ms": percentile(latencies, p / 100) * 1e3 for p in (50, 95, 99)}
        return call.json(
            {
                "throughput_tok_per_sec": recent.tokens_per_s(), **percentiles, "gpu_memory_used_bytes": None,
                "gpu_memory_total_bytes": None, "gpu_utilization_percent": None,
                "cuda_path_active": found.llm.backend_name == "cuda", "batch_size": stats.running,
                "queue_depth": stats.waiting, "total_tokens": recent.num_tokens,
                "total_requests": recent.num_requests, "uptime_secs": recent.uptime_s, "model_name": found.id,
            }
        )  # fmt: skip


async def dispatch(call: Call[None]) -> web.Response:
    """How many generations each kind of device did and how long they took; one model runs on one device."""
    recent = call.service.metrics.recent
    async with call.service.pool.lease() as found:
        on_gpu = found.llm.backend_name == "cuda"
    here, there = ("gpu", "cpu") if on_gpu else ("cpu", "gpu")
    total = recent.num_requests
    return call.json(
        {
            f"{here}_dispatches": total, f"{there}_dispatches": 0, "total_dispatches": total,
            "gpu_ratio": float(on_gpu and total > 0), **_latencies(here, recent.latencies_s), **_latencies(there, []),
            "throughput_rps": total / max(1e-9, recent.uptime_s), "elapsed_seconds": recent.uptime_s,
        }
    )  # fmt: skip


async def reset_dispatch(call: Call[None]) -> web.Response:
    """Begin to count anew."""
    call.service.metrics.recent = Recent()
    return call.json({"success": True, "message": "counting begins anew"})


def _latencies(device: str, ordered: list[float]) -> dict[str, float]:
    """Microseconds."""
    us = [seconds * 1e6 for seconds in ordered]
    mean = sum(us) / max(1, len(us))
    variance = sum((each - mean) ** 2 for each in us) / max(1, len(us))
    found = {f"p{p}": percentile(us, p / 100) for p in (50, 95, 99)}
    found |= {"mean": mean, "min": us[0] if us else 0.0, "max": us[-1] if us else 0.0}
    found |= {"variance": variance, "stddev": variance**0.5}
    return {f"{device}_latency_{name}_us": value for name, value in found.items()}


def _absent(why: str) -> Handler:
    async def refuse(call: Call[None]) -> web.Response:
        raise not_implemented(why)

    return refuse


_NO_CLASSIC = "models of features and labels are not served; this server has language models"
_NO_WARMUP = "nothing is to be warmed up: a model is ready when /health says so"

ROUTES = (
    Route("GET", "/models", models, None, "Models that are served"),
    Route("GET", "/realize/model", model, None, "The default model"),
    Route("POST", "/realize/embed", embeddings, EmbeddingsRequest, "Vectors for texts"),
    Route("POST", "/realize/reload", reload, ReloadRequest, "Load a model anew"),
    Route("GET", "/v1/metrics", status, None, "Speeds and latencies as JSON"),
    Route("GET", "/metrics/dispatch", dispatch, None, "Generations by kind of device"),
    Route("POST", "/metrics/dispatch/reset", reset_dispatch, None, "Count anew"),
    Route("POST", "/v1/predict", _absent(_NO_CLASSIC), None, "501"),
    Route("POST", "/v1/explain", _absent(_NO_CLASSIC), None, "501"),
    Route("GET", "/v1/audit/{request_id}", _absent("no record of requests is kept"), None, "501"),
    Route("POST", "/v1/gpu/warmup", _absent(_NO_WARMUP), None, "501"),
    Route("GET", "/v1/gpu/status", _absent(_NO_WARMUP), None, "501"),
)
