"""From what people type to the source that it means."""

from __future__ import annotations

from realizar.store.catalog import Catalog, find_alias
from realizar.store.hub import HubSource
from realizar.store.source import Source
from realizar.store.url import UrlSource

_SCHEMES = ("hf://", "https://", "http://")


def has_scheme(name: str) -> bool:
    """Whether the name says by itself where the model comes from."""
    return name.startswith(_SCHEMES)


def find_source(name: str, catalog: Catalog) -> Source:
    """The source of that name: hf://..., https://...#sha256=..., or an alias; raises StoreError."""
    if name.startswith("hf://"):
        return HubSource.parse(name)
    return UrlSource.parse(name) if has_scheme(name) else find_alias(name, catalog)
