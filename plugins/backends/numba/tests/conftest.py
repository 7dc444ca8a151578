"""Backends that close themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from realizar.backend import BackendOptions
from realizar_numba.backend import NumbaBackend


@pytest.fixture
def make_backend() -> Iterator[Callable[..., NumbaBackend]]:
    """A function that makes a backend with some number of threads."""
    made: list[NumbaBackend] = []

    def make(threads: int = 2) -> NumbaBackend:
        made.append(NumbaBackend(BackendOptions(threads=threads)))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def backend(make_backend: Callable[..., NumbaBackend]) -> NumbaBackend:
    """A backend with two threads."""
    return make_backend()
