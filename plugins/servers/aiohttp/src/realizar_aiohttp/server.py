"""Listening, and ending: what is around the application."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from realizar.errors import RequestError
from realizar.servers import Server, ServerConfig

if TYPE_CHECKING:
    from aiohttp import web

    from realizar.model_pool import ModelPool


class AiohttpServer(Server):
    """Every wire of this package on one port; aiohttp is imported when it serves."""

    name = "aiohttp"

    async def serve(
        self, pool: ModelPool, config: ServerConfig, *, listening: Callable[[str], None], stop: asyncio.Event
    ) -> None:
        """Listen, answer until `stop`, let open requests end within config.drain_s and close what is left."""
        from realizar_aiohttp.app import build_app
        from realizar_aiohttp.service import SERVICE

        app = build_app(pool, config)
        runner = make_runner(app, config)
        await runner.setup()
        try:
            listening(await _listen(runner, config))
            await stop.wait()
            await app[SERVICE].drain(config.drain_s)
        finally:
            await runner.cleanup()


def make_runner(app: web.Application, config: ServerConfig) -> web.AppRunner:
    """The runner of an application: a client that leaves cancels its request's handler; headers are capped."""
    from aiohttp import web

    return web.AppRunner(
        app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1, keepalive_timeout=75.0,
        max_line_size=8190, max_field_size=8190, max_headers=64,
    )  # fmt: skip


async def _listen(runner: web.AppRunner, config: ServerConfig) -> str:
    """Bind, and the URL that was bound; raises RequestError if it cannot be."""
    from aiohttp import web

    site = web.TCPSite(runner, config.host, config.port, ssl_context=_tls(config), backlog=1024)
    try:
        await site.start()
    except OSError as error:
        raise RequestError(
            f"host {config.host}, port {config.port}: cannot listen there: {error.strerror or error}; "
            f"another program may use it: choose another --port, or 0 for any that is free"
        ) from error
    port = runner.addresses[0][1]
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{'http' if config.tls_cert is None else 'https'}://{host}:{port}"


def _tls(config: ServerConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise RequestError(f"tls_cert {config.tls_cert}, tls_key {config.tls_key}: not usable: {error}") from error
    return context
