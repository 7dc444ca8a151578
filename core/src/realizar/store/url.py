"""A file from a web server, pinned by its SHA-256: https://host/path/model.gguf#sha256=..."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit

import attrs

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store.assembly import Assembly
from realizar.store.cache import check_room
from realizar.store.pins import Pin, is_plain_name
from realizar.store.receipt import Receipt
from realizar.store.stages import DOWNLOADING

MAX_NBYTES = 1 << 38
"""No file is larger than this, whatever a server says."""

_TIMEOUT_S = 60
_NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
_FRAGMENT = re.compile(r"sha256=([0-9a-fA-F]{64})")


@attrs.frozen
class UrlSource:
    """One file: its address without the fragment, its SHA-256, its name in the cache."""

    url: str
    sha256: str
    file: str

    @classmethod
    def parse(cls, text: str) -> UrlSource:
        """The source that an address means; raises StoreError if it is not https, has no hash or no file name."""
        url, _, fragment = text.partition("#")
        try:
            parts = urlsplit(url)
            file, host = unquote(parts.path.rpartition("/")[2]), parts.hostname
        except ValueError as error:
            raise StoreError(f"{text!r} is no address: {error}") from error
        if parts.scheme != "https" or not host:
            raise StoreError(f"{text!r}: models come by https only, from a named host")
        if parts.username is not None or parts.password is not None:
            raise StoreError(f"{host}: an address with a password in it is not taken, because it would be kept")
        match = _FRAGMENT.fullmatch(fragment)
        if match is None:
            raise StoreError(f"{text!r}: say which file it is: end the address in #sha256= and its 64 hex digits")
        if not is_plain_name(file):
            raise StoreError(f"{text!r}: the path ends in {file!r}, expected a plain file name")
        return cls(url, match[1].lower(), file)

    @property
    def name(self) -> str:
        """The whole address."""
        return f"{self.url}#sha256={self.sha256}"

    @property
    def key(self) -> str:
        """Its folder: the content has the name, so two addresses of one file share it."""
        return f"sha256-{self.sha256}"

    @property
    def origin(self) -> str:
        """The host."""
        return urlsplit(self.url).netloc

    def pins(self, receipt: Receipt | None) -> Mapping[str, Pin] | None:
        """What was pulled before; the size is known only then."""
        return receipt.files if receipt is not None else None

    def means(self, receipt: Receipt) -> bool:
        """Whether that is the file of this digest."""
        return receipt.file in receipt.files and receipt.files[receipt.file].sha256 == self.sha256

    def cached(self) -> Path | None:
        """None: nobody else keeps this file."""
        return None

    def fetch(self, staging: Path, folder: Path, progress: Progress) -> Receipt:
        """Stream the file into `folder`; redirects may lead to https only. Raises StoreError."""
        try:
            with _open(self.url) as response:
                pins = {self.file: Pin(_announced(response, self.url), self.sha256)}
                check_room(staging, pins[self.file].size, self.file)
                files = Assembly(folder, pins, progress)
                files.append(self.file, response, DOWNLOADING)
        except _NETWORK as error:
            raise StoreError(f"{self.url}: {_reason(error)}") from error
        if missing := files.room(self.file):
            raise StoreError(f"{self.url}: the transfer ended {missing} bytes too early; try again")
        try:
            files.finish()
        except StoreError as error:
            raise StoreError(f"{self.url}: not the file that was asked for: {error}. Nothing was kept") from error
        return Receipt(self.name, self.origin, pins, self.file)


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
