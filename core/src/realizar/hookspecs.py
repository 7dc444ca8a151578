"""All hooks: a plugin registers what it contributes and the host chooses.

A plugin module sets `REALIZAR_API = (1, 0)` and implements any of these with `@realizar.hookimpl`.
Each hook takes nothing and returns an iterable of contributions; every contribution has a `name`
and may have a `priority` (default 0).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from realizar.architectures import Architecture
    from realizar.backend import Backend
    from realizar.formats import Format
    from realizar.sampling import LogitsProcessorFactory
    from realizar.servers import Server
    from realizar.tokenizers import TokenizerFactory

API = (1, 1)
"""(major, minor) of this hook interface; a plugin's major must equal it, its minor must not exceed it."""

hookspec = pluggy.HookspecMarker("realizar")
hookimpl = pluggy.HookimplMarker("realizar")


@hookspec
def realizar_formats() -> Iterable[Format]:  # type: ignore[empty-body]
    """File formats this plugin reads: instances of `realizar.formats.Format`."""


@hookspec
def realizar_backends() -> Iterable[type[Backend]]:  # type: ignore[empty-body]
    """Compute backends: subclasses of `realizar.backend.Backend` (classes; each engine makes its own instance)."""


@hookspec
def realizar_tokenizers() -> Iterable[TokenizerFactory]:  # type: ignore[empty-body]
    """Tokenizers: instances of `realizar.tokenizers.TokenizerFactory`."""


@hookspec
def realizar_servers() -> Iterable[Server]:  # type: ignore[empty-body]
    """Servers: instances of `realizar.servers.Server`."""


@hookspec
def realizar_architectures() -> Iterable[Architecture]:  # type: ignore[empty-body]
    """Model families: instances of `realizar.architectures.Architecture`."""


@hookspec
def realizar_logits_processors() -> Iterable[LogitsProcessorFactory]:  # type: ignore[empty-body]
    """Logits processors that requests name: instances of `realizar.sampling.LogitsProcessorFactory`. Since API 1.1."""
