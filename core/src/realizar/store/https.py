"""One file by https: certificates checked, redirects to https only, no more bytes than announced."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store.assembly import Assembly
from realizar.store.cache import check_room
from realizar.store.pins import Pin
from realizar.store.stages import DOWNLOADING

MAX_NBYTES = 1 << 38
"""No file is larger than this, whatever a server says."""

_TIMEOUT_S = 60
_NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def download(url: str, file: str, sha256: str, folder: Path, progress: Progress) -> Pin:
    """Stream `url` to `folder / file`, synced to disk and of that digest; raises StoreError."""
    try:
        with _open(url) as response:
            pin = Pin(_announced(response, url), sha256)
            check_room(folder, pin.size, file)
            files = Assembly(folder, {file: pin}, progress)
            files.append(file, response, DOWNLOADING)
    except _NETWORK as error:
        raise StoreError(f"{url}: {_reason(error)}") from error
    if missing := files.room(file):
        raise StoreError(f"{url}: the transfer ended {missing} bytes too early; try again")
    try:
        files.finish()
    except StoreError as error:
        raise StoreError(f"{url}: not the file that was asked for: {error}. Nothing was kept") from error
    return pin


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects as long as they keep to https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: http.client.HTTPMessage, newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        target = urljoin(req.full_url, newurl)
        if urlsplit(target).scheme != "https":
            raise StoreError(f"{req.full_url}: redirects to {target}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str) -> http.client.HTTPResponse:
    """The response to a GET: by way of the user's proxy if one is set, with certificates checked, over nothing else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPSHandler(), _HttpsOnly(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    response: Any = opener.open(urllib.request.Request(url, headers={"User-Agent": "realizar"}), timeout=_TIMEOUT_S)
    return response  # type: ignore[no-any-return]


def _announced(response: http.client.HTTPResponse, url: str) -> int:
    """The length that the server announces; without one nothing would tell a whole file from a cut one."""
    length = response.length
    if length is None or not 0 < length <= MAX_NBYTES:
        raise StoreError(f"{url}: the server announces {length} bytes, expected a length from 1 to {MAX_NBYTES}")
    return length


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"cannot be reached: {error.reason}"
    return f"the transfer failed: {error or type(error).__name__}; try again"
