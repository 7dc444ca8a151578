"""A file from a web server, pinned by its SHA-256: https://host/path/model.gguf#sha256=..."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store.pins import Pin, is_plain_name
from realizar.store.receipt import Receipt

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
        from realizar.store.https import download  # HTTP and TLS, which a model that is here does not need

        pin = download(self.url, self.file, self.sha256, folder, progress)
        return Receipt(self.name, self.origin, {self.file: pin}, self.file)
