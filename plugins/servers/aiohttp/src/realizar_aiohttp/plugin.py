"""The hook of this plugin."""

from __future__ import annotations

from collections.abc import Iterable

import realizar
from realizar.servers import Server
from realizar_aiohttp.server import AiohttpServer

REALIZAR_API = (1, 0)


@realizar.hookimpl
def realizar_servers() -> Iterable[Server]:
    """One server."""
    return [AiohttpServer()]
