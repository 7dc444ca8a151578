"""The models that a server offers, by the names that requests use."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping

import attrs

from realizar.engine import LLM
from realizar.errors import RealizarError


class UnknownModel(RealizarError):
    """A request names a model that is not served; says which are."""


class ModelNotReady(RealizarError):
    """A model is still being loaded."""


@attrs.frozen
class ServedModel:
    """A model under the id that requests use. created: when it was loaded, in seconds since 1970."""

    id: str
    llm: LLM
    created: int


class ModelPool:
    """Models by id, loaded once; the first is what a request gets that names none.

    loaders: what makes the LLM of each id. A request's name is only ever looked up here: never a path or an address.
    fallbacks: what makes an LLM that stands in for the one of an id while that one fails; loaded when first needed.
    """

    def __init__(
        self, loaders: Mapping[str, Callable[[], LLM]], fallbacks: Mapping[str, Callable[[], LLM]] | None = None
    ) -> None:
        self._loaders = dict(loaders)
        self._fallbacks = dict(fallbacks or {})
        self._loaded: dict[str, ServedModel] = {}
        self._standing_in: dict[str, LLM] = {}
        self._loading = threading.Lock()

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id that is served, the default first."""
        return tuple(self._loaders)

    @property
    def loaded(self) -> tuple[ServedModel, ...]:
        """The models that are in memory."""
        return tuple(self._loaded.values())

    @property
    def is_ready(self) -> bool:
        """Whether every model is there."""
        return len(self._loaded) == len(self._loaders)

    def load(self) -> None:
        """Load what is not there yet; blocks. Raises what `LLM` raises."""
        for name, loader in self._loaders.items():
            if name not in self._loaded:
                self._loaded[name] = ServedModel(name, loader(), int(time.time()))

    @contextlib.asynccontextmanager
    async def lease(self, name: str | None = None) -> AsyncIterator[ServedModel]:
        """The model of that id (None or "": the default), kept in memory meanwhile.

        Raises UnknownModel, ModelNotReady.
        """
        found = name or self.ids[0]
        if found not in self._loaders:
            raise UnknownModel(f"model: found {found[:200]!r}, this server has {', '.join(map(repr, self.ids))}")
        if found not in self._loaded:
            raise ModelNotReady(f"model {found!r} is being loaded; try again in a moment")
        yield self._loaded[found]

    def has_fallback(self, name: str) -> bool:
        """Whether something can stand in for the model of that id."""
        return name in self._fallbacks

    def load_fallback(self, name: str) -> LLM:
        """What stands in for the model of that id, loaded by the first call; blocks. Raises what `LLM` raises."""
        with self._loading:
            if name not in self._standing_in:
                self._standing_in[name] = self._fallbacks[name]()
            return self._standing_in[name]

    def close(self) -> None:
        """Close every model; requests in flight get an error."""
        while self._standing_in:
            self._standing_in.popitem()[1].close()
        while self._loaded:
            self._loaded.popitem()[1].llm.close()
