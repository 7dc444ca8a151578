"""Entry point: the numba backend."""

from __future__ import annotations

from collections.abc import Iterable

from realizar.backend import Backend
from realizar.hookspecs import hookimpl
from realizar_numba.backend import NumbaBackend

REALIZAR_API = (1, 0)


@hookimpl
def realizar_backends() -> Iterable[type[Backend]]:
    """The backend class; Numba is imported when an instance is made."""
    return [NumbaBackend]
