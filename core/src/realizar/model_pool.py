"""The models that a server offers, by the names that requests use."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from realizar.engine import LLM
from realizar.errors import RealizarError
from realizar.model_cache import ModelCache, ModelNotReady, ServedModel

__all__ = ["ModelNotReady", "ModelPool", "ServedModel", "UnknownModel"]


class UnknownModel(RealizarError):
    """A request names a model that is not served; says which are."""


class ModelPool:
    """Models by id; the first is what a request gets that names none, and the others are loaded when one names them.

    loaders: what makes the LLM of each id. A request's name is only ever looked up here: never a path or an address.
    fallbacks: what makes an LLM that stands in for the one of an id while that one fails; loaded when first needed.
    caching: further arguments of ModelCache (sizes, budget_nbytes, keep_s, wait_s).
    """

    def __init__(
        self, loaders: Mapping[str, Callable[[], LLM]], fallbacks: Mapping[str, Callable[[], LLM]] | None = None,
        **caching: Any,
    ) -> None:  # fmt: skip
        self._fallbacks = dict(fallbacks or {})
        self._standing_in: dict[str, LLM] = {}
        self._loading = threading.Lock()
        self._reloader = ThreadPoolExecutor(1, thread_name_prefix="realizar-reload")
        self.ids = tuple(loaders)
        """Every id that is served, the default first."""
        self.cache = ModelCache(loaders, **caching)
        self._started = False

    @property
    def loaded(self) -> tuple[ServedModel, ...]:
        """The models that are in memory."""
        return self.cache.models

    @property
    def is_ready(self) -> bool:
        """Whether `load` is done: requests are answered, be it after another load."""
        return self._started

    def load(self, *names: str) -> None:
        """Load these models (the default if none is named) and begin to take requests; blocks. Raises what LLM does."""
        for name in names or self.ids[:1]:
            self.cache.give_back(self.cache.take(name).result())
        self._started = True

    @contextlib.asynccontextmanager
    async def lease(self, name: str | None = None) -> AsyncIterator[ServedModel]:
        """The model of that id (None or "": the default), loaded if need be and kept in memory meanwhile.

        Raises UnknownModel, ModelNotReady if it is not there within the cache's `wait_s`, and what LLM raises.
        """
        found = name or self.ids[0]
        self.prove_known(found)
        if not self._started:
            raise ModelNotReady(f"model {found!r} is being loaded; try again in a moment")
        model = await self._taken(found)
        try:
            yield model
        finally:
            self.cache.give_back(model)

    async def reload(self, name: str) -> None:
        """Load a model anew, as `ModelCache.reload`, without blocking the event loop; one at a time."""
        self.prove_known(name)
        await asyncio.get_running_loop().run_in_executor(self._reloader, self.cache.reload, name)

    def prove_known(self, name: str) -> None:
        """Raise UnknownModel for an id that is not served."""
        if name not in self.ids:
            raise UnknownModel(f"model: found {name[:200]!r}, this server has {', '.join(map(repr, self.ids))}")

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
        self._reloader.shutdown(wait=False, cancel_futures=True)
        while self._standing_in:
            self._standing_in.popitem()[1].close()
        self.cache.close()

    async def _taken(self, name: str) -> ServedModel:
        """A lease, which nobody holds if this is cancelled; the load goes on for whoever asks again."""
        future = self.cache.take(name)
        if future.done():
            return future.result()
        coming = asyncio.wrap_future(future)
        try:
            await asyncio.wait({coming}, timeout=self.cache.wait_s)
            if not coming.done():
                raise ModelNotReady(f"model {name!r} is still being loaded; try again in a moment")
            return coming.result()
        except BaseException:
            self.cache.abandon(future)
            raise
