"""Models by name: what an alias means, where its file is kept, how it gets there.

Only `pull`, and `resolve` with `allow_download=True`, touch the network.
"""

from realizar.progress import Progress
from realizar.store.catalog import Alias, Catalog, WheelSource, load_catalog
from realizar.store.pulling import pull
from realizar.store.receipt import Receipt
from realizar.store.store import StoredModel, list_models, remove, resolve, show

__all__ = [
    "Alias",
    "Catalog",
    "Progress",
    "Receipt",
    "StoredModel",
    "WheelSource",
    "list_models",
    "load_catalog",
    "pull",
    "remove",
    "resolve",
    "show",
]
