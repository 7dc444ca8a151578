"""Entry point: the cuda backend."""

from __future__ import annotations

from collections.abc import Iterable

from realizar.backend import Backend
from realizar.hookspecs import hookimpl
from realizar_cuda.backend import CudaBackend

REALIZAR_API = (1, 0)


@hookimpl
def realizar_backends() -> Iterable[type[Backend]]:
    """The backend class; CuPy is imported when it is probed or an instance is made."""
    return [CudaBackend]
