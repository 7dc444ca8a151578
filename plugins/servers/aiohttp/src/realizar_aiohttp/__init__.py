"""The HTTP server of realizar, on aiohttp."""
