"""What core itself contributes, through the same hooks as everybody."""

from __future__ import annotations

from collections.abc import Iterable

from realizar.architectures import Architecture
from realizar.architectures.families import FAMILIES
from realizar.backend import Backend
from realizar.hookspecs import hookimpl
from realizar.reference import Numpy64Backend, NumpyBackend

REALIZAR_API = (1, 0)


@hookimpl
def realizar_backends() -> Iterable[type[Backend]]:
    """The reference in float32 and in float64."""
    return (NumpyBackend, Numpy64Backend)


@hookimpl
def realizar_architectures() -> Iterable[Architecture]:
    """The families that core knows."""
    return FAMILIES
