"""Registers the formats."""

from __future__ import annotations

from collections.abc import Iterable

import realizar
from realizar.formats import Format
from realizar_gguf.format import GGUF
from realizar_gguf.imatrix import Imatrix

REALIZAR_API = (1, 0)


@realizar.hookimpl
def realizar_formats() -> Iterable[Format]:
    """Models, and importance matrices in an older format of the same software."""
    return [GGUF(), Imatrix()]
