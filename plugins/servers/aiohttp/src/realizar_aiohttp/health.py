"""Whether the server lives, and whether it can answer."""

from __future__ import annotations

from aiohttp import web

from realizar.sampling import SamplingParams
from realizar_aiohttp.call import Call
from realizar_aiohttp.generation import Job, completions
from realizar_aiohttp.problem import Problem
from realizar_aiohttp.routes import Route


async def live(call: Call[None]) -> web.Response:
    """200 for as long as the process answers at all."""
    return call.json({"status": "ok"})


async def ready(call: Call[None]) -> web.Response:
    """200 once every model is there and the server is not ending; `?deep=1` also generates a token."""
    service = call.service
    if service.draining:
        raise _unavailable("the server is ending")
    if not service.pool.is_ready:
        raise _unavailable("Loading model")
    for model in service.pool.loaded:
        why = service.resilience.why_unready(model)
        if why is not None:
            raise _unavailable(why)
    if "deep" in call.request.query:
        async with service.pool.lease() as model:
            await completions(service, model, [Job([0], SamplingParams(temperature=0, max_tokens=1))])
    return call.json({"status": "ok"})


async def metrics(call: Call[None]) -> web.Response:
    """Prometheus's text format."""
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return web.Response(body=call.service.metrics.text(), headers=headers)


def _unavailable(why: str) -> Problem:
    return Problem(status=503, code="unavailable", message=why, hint="try again shortly", headers={"Retry-After": "1"})


ROUTES = (
    Route("GET", "/health", ready, None, "Whether requests can be answered"),
    Route("GET", "/v1/health", ready, None, "The same"),
    Route("GET", "/readyz", ready, None, "The same, by Kubernetes' name"),
    Route("GET", "/livez", live, None, "Whether the process answers"),
    Route("GET", "/metrics", metrics, None, "Metrics in Prometheus's text format"),
)

PUBLIC = frozenset({"/", "/health", "/v1/health", "/readyz", "/livez"})
"""Paths that need no key, unless they are asked to compute something."""
