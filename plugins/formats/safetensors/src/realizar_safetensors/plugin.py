"""Registers the Safetensors format."""

from __future__ import annotations

from collections.abc import Iterable

import realizar
from realizar.formats import Format
from realizar_safetensors.format import Safetensors

REALIZAR_API = (1, 0)


@realizar.hookimpl
def realizar_formats() -> Iterable[Format]:
    """The one format of this plugin."""
    return [Safetensors()]
