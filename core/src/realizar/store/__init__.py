"""Models by name: what a name means, where its files are kept, how they get there.

Only `pull`, and `resolve` with `allow_download=True`, touch the network.
"""

from realizar.progress import Progress
from realizar.store.catalog import Alias, Catalog, load_catalog
from realizar.store.pulling import pull
from realizar.store.receipt import Receipt
from realizar.store.source import Source
from realizar.store.store import StoredModel, list_models, remove, resolve, show
from realizar.store.wheel import WheelSource

__all__ = [
    "Alias",
    "Catalog",
    "Progress",
    "Receipt",
    "Source",
    "StoredModel",
    "WheelSource",
    "list_models",
    "load_catalog",
    "pull",
    "remove",
    "resolve",
    "show",
]
