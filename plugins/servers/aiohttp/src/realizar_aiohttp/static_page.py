"""The web page at `/` and its files: static, of this package, under a strict policy."""

from __future__ import annotations

import functools
import mimetypes
from pathlib import Path

from aiohttp import web

from realizar_aiohttp.call import Call
from realizar_aiohttp.problem import Problem
from realizar_aiohttp.routes import Route

FOLDER = Path(__file__).parent / "page"
PAGE_PATH = "/page/"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline: an answer that became markup could still load and run nothing."""

_HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-cache",
}  # fmt: skip


@functools.cache
def page_files() -> dict[str, bytes]:
    """Name -> content of every file of the page."""
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())}


async def root(call: Call[None]) -> web.StreamResponse:
    """The page for a browser; for others the words by which programs recognize Ollama."""
    if "text/html" in call.request.headers.get("Accept", ""):
        return _response("index.html")
    return web.Response(text="Ollama is running")


async def page_file(call: Call[None]) -> web.StreamResponse:
    """One of its files, by a name that is looked up and never opened."""
    name = call.request.match_info["name"]
    if name not in page_files():
        raise Problem(status=404, code="not_found", message=f"the page has no file {name[:100]!r}")
    return _response(name)


def _response(name: str) -> web.Response:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    kind = "text/javascript" if name.endswith(".js") else kind
    return web.Response(body=page_files()[name], content_type=kind, charset="utf-8", headers=_HEADERS)


ROUTES = (
    Route("GET", "/", root, None, "The web page, or what programs recognize Ollama by"),
    Route("HEAD", "/", root, None, "The same"),
    Route("GET", "/page/{name}", page_file, None, "A file of the web page"),
)
