"""The application: routes of every wire behind one row of middlewares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from realizar.model_pool import ModelPool
from realizar.servers import ServerConfig
from realizar_aiohttp import debug, health, static_page
from realizar_aiohttp.metrics import Metrics
from realizar_aiohttp.middleware import MIDDLEWARES
from realizar_aiohttp.middleware.context import set_context
from realizar_aiohttp.middleware.origin import set_cors
from realizar_aiohttp.middleware.request_id import set_request_id
from realizar_aiohttp.openapi import openapi_route
from realizar_aiohttp.routes import Route
from realizar_aiohttp.service import SERVICE, Service
from realizar_aiohttp.wires import WIRES

_SERVING: tuple[Route, ...] = (
    *health.ROUTES, *debug.ROUTES, *static_page.ROUTES, *(route for wire in WIRES for route in wire.ROUTES),
)  # fmt: skip

ROUTES = (*_SERVING, openapi_route(_SERVING))
"""Every route, in order; no two have the same method and path."""


def build_app(pool: ModelPool, config: ServerConfig) -> web.Application:
    """An application that answers for the models of `pool`."""
    app = web.Application(middlewares=MIDDLEWARES, client_max_size=config.max_body_nbytes)
    app[SERVICE] = Service(pool, config, Metrics(pool, vllm_names=config.metrics_compat == "vllm"))
    app.on_response_prepare.append(set_request_id)
    app.on_response_prepare.append(set_cors)
    app.on_response_prepare.append(set_context)
    app.cleanup_ctx.append(_watched)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.answer)
    return app


async def _watched(app: web.Application) -> AsyncIterator[None]:
    """Watch over the engines for as long as the application runs."""
    watch = asyncio.create_task(app[SERVICE].resilience.watch())
    yield
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
