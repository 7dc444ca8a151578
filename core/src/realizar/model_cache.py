"""Models in memory: loaded when they are asked for, within a budget, and unloaded when they are in the way."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Literal

import attrs

from realizar.engine import LLM
from realizar.errors import RealizarError

Measure = Callable[[int | None], int]
"""Bytes that a model will take, from its header; given a budget, raises MemoryExceeded if it is more than that."""

Why = Literal["room", "idle", "reload"]
"""Why a model was unloaded: another one needed its room, nobody asked for long, or a new copy took its place."""


class ModelNotReady(RealizarError):
    """A model is still being loaded, or waits for memory that others use."""


@attrs.define(eq=False)
class ServedModel:
    """A model under the id that requests use. created: when it was loaded, in seconds since 1970.

    nbytes: what it takes. leases: requests that use it now; it is never closed while there are any.
    used_s: when one last did, by `time.monotonic`. keep_s: for how long it stays when nobody does; None: until its
    room is needed. is_replaced: whether requests get a newer copy, and this one goes when its last has ended.
    """

    id: str
    llm: LLM
    created: int
    nbytes: int = 0
    keep_s: float | None = None
    leases: int = 0
    used_s: float = attrs.field(factory=time.monotonic)
    is_replaced: bool = False

    @property
    def expires_s(self) -> float | None:
        """When it goes if nobody asks, by `time.monotonic`; None: it stays."""
        return None if self.keep_s is None or self.leases else self.used_s + self.keep_s


@attrs.define
class LoadCounts:
    """What has happened so far, by the model's id."""

    loads: Counter[str] = attrs.field(factory=Counter)
    failures: Counter[str] = attrs.field(factory=Counter)
    unloads: Counter[tuple[str, Why]] = attrs.field(factory=Counter)
    load_s: dict[str, float] = attrs.field(factory=dict)


class ModelCache:
    """Loads models one at a time and shares them; methods may be called from any thread.

    loaders: what makes the LLM of each id. sizes: what measures it; one without takes no room.
    budget_nbytes: what all together may take; None: no bound. keep_s: how long a model stays that nobody uses.
    wait_s: for how long a model waits for room that requests in flight still use.
    """

    def __init__(
        self, loaders: Mapping[str, Callable[[], LLM]], sizes: Mapping[str, Measure] | None = None, *,
        budget_nbytes: int | None = None, keep_s: float | None = None, wait_s: float = 30.0,
    ) -> None:  # fmt: skip
        self._loaders, self._sizes = dict(loaders), dict(sizes or {})
        self.budget_nbytes, self.keep_s, self.wait_s = budget_nbytes, keep_s, wait_s
        self.counts = LoadCounts()
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._current: dict[str, ServedModel] = {}
        self._open: set[ServedModel] = set()
        self._waiting: dict[str, list[Future[ServedModel]]] = {}
        self._nbytes = 0
        self._watching = self._closed = False

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """Those that a request would get at once."""
        with self._changed:
            return tuple(self._current.values())

    @property
    def nbytes(self) -> int:
        """What is taken or promised, replaced models that are still in use included."""
        return self._nbytes

    def take(self, name: str) -> Future[ServedModel]:
        """A lease: there at once if the model is, else once it is loaded, which begins here; one load serves all.

        Who got it calls `give_back`, who gives up waiting `abandon`. Fails with what the loader raises, with
        MemoryExceeded if the model never fits, and ModelNotReady if requests in flight hold its room for too long.
        """
        future: Future[ServedModel] = Future()
        with self._changed:
            self._prove_open()
            if name in self._current:
                self._grant(future, self._current[name])
            elif name in self._waiting:
                self._waiting[name].append(future)
            else:
                self._waiting[name] = [future]
                threading.Thread(target=self._load, args=(name,), name="realizar-load", daemon=True).start()
        return future

    def give_back(self, model: ServedModel) -> None:
        """End a lease; the last one of a model that was replaced closes it."""
        with self._changed:
            model.leases -= 1
            model.used_s = time.monotonic()
            goes = model.is_replaced and not model.leases
            if model.keep_s is not None:
                self._watch()
            self._changed.notify_all()
        if goes:
            threading.Thread(target=self._close, args=(model, "reload"), name="realizar-unload", daemon=True).start()

    def abandon(self, future: Future[ServedModel]) -> None:
        """Give up what `take` returned, whether it has come by now or not."""
        if not future.cancel() and future.exception() is None:
            self.give_back(future.result())

    def keep(self, name: str, keep_s: float | None) -> None:
        """Let a model, if it is loaded, stay for so long when nobody uses it; 0: not at all; None: as long as it may.

        It holds until the model is unloaded, whatever `keep_s` of the cache is.
        """
        with self._changed:
            if name in self._current:
                self._current[name].keep_s = keep_s
                self._watch()
                self._changed.notify_all()

    def reload(self, name: str) -> None:
        """Load a model anew; blocks. Requests get the old one until the new one is there, and end on what they got.

        Where the budget does not hold both, new requests wait until those in flight have ended and it is loaded again.
        """
        while (mine := self._begin_reload(name)) is None:
            pass
        self._load(name)
        self.give_back(mine.result())

    def close(self) -> None:
        """Close every model; requests in flight get an error, and so do those that wait for a load."""
        with self._changed:
            self._closed = True
            self._current.clear()
            self._changed.notify_all()
            models = list(self._open)
        for model in models:
            self._close(model, None)

    def _prove_open(self) -> None:
        if self._closed:
            raise RealizarError("the models of this server are closed")

    def _begin_reload(self, name: str) -> Future[ServedModel] | None:
        """A place at the head of a new load; None after waiting for one that may have read what was there before."""
        future: Future[ServedModel] = Future()
        with self._changed:
            self._prove_open()
            if name not in self._waiting:
                self._waiting[name] = [future]
                return future
            self._waiting[name].append(future)
        if future.exception() is None:
            self.give_back(future.result())
        return None

    def _grant(self, future: Future[ServedModel], model: ServedModel) -> None:
        if future.set_running_or_notify_cancel():
            model.leases += 1
            model.used_s = time.monotonic()
            future.set_result(model)

    def _load(self, name: str) -> None:
        """Load, and tell everybody who waits for it."""
        try:
            with self._turn:
                model = self._loaded(name)
        except BaseException as error:
            with self._changed:
                self.counts.failures[name] += 1
                waiting = self._waiting.pop(name)
            for future in waiting:
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)
            return
        with self._changed:
            old = self._current.pop(name, None)
            self._current[name] = model
            goes = old is not None and self._retire(old)
            for future in self._waiting.pop(name):
                self._grant(future, model)
            if model.keep_s is not None:
                self._watch()
            self._changed.notify_all()
        if goes and old is not None:
            self._close(old, "reload")

    def _loaded(self, name: str) -> ServedModel:
        nbytes = self._sizes[name](self.budget_nbytes) if name in self._sizes else 0
        self._make_room(name, nbytes)
        start = time.perf_counter()
        try:
            llm = self._loaders[name]()
        except BaseException:
            self._free(nbytes)
            raise
        self.counts.loads[name] += 1
        self.counts.load_s[name] = self.counts.load_s.get(name, 0.0) + time.perf_counter() - start
        model = ServedModel(name, llm, int(time.time()), nbytes, self.keep_s)
        with self._changed:
            self._open.add(model)
            closed = self._closed
        if closed:
            self._close(model, None)
            self._prove_open()
        return model

    def _make_room(self, name: str, nbytes: int) -> None:
        """Promise bytes to a model; as far as need be, unused models are closed, the longest unused first."""
        deadline_s = time.monotonic() + self.wait_s
        while True:
            with self._changed:
                self._prove_open()
                if self.budget_nbytes is None or self._nbytes + nbytes <= self.budget_nbytes:
                    self._nbytes += nbytes
                    return
                victim = self._victim(name)
                if victim is None and not self._changed.wait(deadline_s - time.monotonic()):
                    raise ModelNotReady(self._no_room(name, nbytes))
            if victim is not None:
                self._close(victim, "reload" if victim.id == name else "room")

    def _victim(self, name: str) -> ServedModel | None:
        """What is to be closed next, taken out of what requests get: in the end the old copy of the model itself."""
        unused = [model for model in self._current.values() if not model.leases and model.id != name]
        if unused:
            return self._current.pop(min(unused, key=lambda model: model.used_s).id)
        old = self._current.pop(name, None)
        return old if old is not None and self._retire(old) else None

    def _retire(self, model: ServedModel) -> bool:
        """Mark a model that requests get no more; whether it can be closed at once."""
        model.is_replaced = True
        return not model.leases

    def _no_room(self, name: str, nbytes: int) -> str:
        used = ", ".join(f"{model.id} ({model.leases} requests)" for model in self._open if model.leases)
        return (
            f"model {name!r} needs {nbytes / 2**20:,.0f} MiB, {self._nbytes / 2**20:,.0f} of "
            f"{(self.budget_nbytes or 0) / 2**20:,.0f} MiB are used by models with requests in flight: "
            f"{used or 'none any more'}; try again in a moment"
        )

    def _close(self, model: ServedModel, why: Why | None) -> None:
        """Close a model and give back its room, once; no lock is held meanwhile, for its engine ends a step first."""
        with self._changed:
            if model not in self._open:
                return
            self._open.remove(model)
            if why is not None:
                self.counts.unloads[model.id, why] += 1
        try:
            model.llm.close()
        finally:
            self._free(model.nbytes)

    def _free(self, nbytes: int) -> None:
        with self._changed:
            self._nbytes -= nbytes
            self._changed.notify_all()

    def _watch(self) -> None:
        """Begin to look for models that have been unused for too long; the lock is held."""
        if not self._watching:
            self._watching = True
            threading.Thread(target=self._unload_idle, name="realizar-idle", daemon=True).start()

    def _unload_idle(self) -> None:
        while True:
            with self._changed:
                ends = {model.id: model.expires_s for model in self._current.values() if model.expires_s is not None}
                now = time.monotonic()
                due = [self._current.pop(name) for name, end_s in ends.items() if end_s <= now]
                if self._closed:
                    return
                if not due:
                    self._changed.wait(min(ends.values()) - now if ends else None)
            for model in due:
                self._close(model, "idle")
