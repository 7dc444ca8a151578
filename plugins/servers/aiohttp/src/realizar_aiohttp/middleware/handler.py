"""The type that all middlewares share."""

from collections.abc import Awaitable, Callable

from aiohttp import web

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""What a middleware calls to go on."""
