"""Discovery: every installed plugin is loaded alone, so that a broken one is a line in a list and nothing else."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points, version
from types import ModuleType
from typing import Any

import attrs
import pluggy

from realizar import hookspecs
from realizar.architectures import Architecture
from realizar.backend import Backend
from realizar.errors import PluginError
from realizar.formats import Format
from realizar.sampling.processors import LogitsProcessorFactory
from realizar.servers import Server
from realizar.tokenizers import TokenizerFactory

GROUP = "realizar"
"""The entry-point group."""

CORE = "realizar-core"

FIRST_PARTY = ("gguf", "safetensors", "apr", "numba", "cuda", "bpe", "sentencepiece", "wordpiece", "aiohttp")
"""Words of our own plugins, each in the distribution realizar-<word>; nobody else may take a name before them."""

KINDS: dict[str, tuple[str, type]] = {
    "realizar_formats": ("format", Format),
    "realizar_backends": ("backend", Backend),
    "realizar_tokenizers": ("tokenizer", TokenizerFactory),
    "realizar_servers": ("server", Server),
    "realizar_architectures": ("architecture", Architecture),
    "realizar_logits_processors": ("logits_processor", LogitsProcessorFactory),
}
"""Hook -> (kind, the class its contributions are of)."""


@attrs.frozen
class Record:
    """One contribution, or one plugin that gave none.

    kind: a value of KINDS, or "plugin" where loading failed. status: "ok", "unavailable" (loaded, cannot run
    here), "failed" (broken) or "refused" (wrong API version, or the name is taken).
    """

    name: str
    kind: str
    distribution: str
    version: str
    status: str
    detail: str
    contribution: Any = attrs.field(default=None, repr=False)
    traceback: str = attrs.field(default="", repr=False)
    score: int = 0


@attrs.frozen
class Source:
    """Where a plugin comes from."""

    name: str
    distribution: str
    version: str

    @classmethod
    def of(cls, entry_point: EntryPoint) -> Source:
        """The distribution behind an entry point."""
        dist = entry_point.dist
        return cls(entry_point.name, dist.name if dist else "unknown", dist.version if dist else "")

    @property
    def rank(self) -> tuple[int, str, str]:
        """Core first, then our own distributions, then all others by name."""
        ours = self.distribution in {f"realizar-{word}" for word in FIRST_PARTY}
        return (0 if self.distribution == CORE else 1 if ours else 2, self.distribution, self.name)

    def record(self, status: str, detail: str, *, kind: str = "plugin", trace: str = "") -> Record:
        """A record about the plugin as a whole."""
        return Record(self.name, kind, self.distribution, self.version, status, detail, traceback=trace)


class Host:
    """All plugins of this process, loaded once."""

    def __init__(self, points: Iterable[EntryPoint] | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self.records: list[Record] = []
        self._load_core()
        found = sorted(entry_points(group=GROUP) if points is None else points, key=lambda point: Source.of(point).rank)
        for point in self._allowed(found, environ):
            self._load(Source.of(point), point)

    def contributions(self, kind: str) -> list[Record]:
        """The records of that kind that can be used, in precedence order."""
        return [record for record in self.records if record.kind == kind and record.status == "ok"]

    def _load_core(self) -> None:
        from realizar import builtin

        self._contribute(Source("core", CORE, version(CORE)), builtin)

    def _allowed(self, found: list[EntryPoint], environ: Mapping[str, str]) -> list[EntryPoint]:
        """Those that REALIZAR_PLUGINS names, all if it is not set; an absent name is reported."""
        if "REALIZAR_PLUGINS" not in environ:
            return found
        wanted = [name.strip() for name in environ["REALIZAR_PLUGINS"].split(",") if name.strip()]
        missing = sorted(set(wanted) - {point.name for point in found})
        for name in missing:
            detail = "REALIZAR_PLUGINS names it, but no installed distribution provides it"
            self.records.append(Source(name, "", "").record("failed", detail))
        return [point for point in found if point.name in wanted]

    def _load(self, source: Source, point: EntryPoint) -> None:
        try:
            module = point.load()
            refusal = _refusal(module)
            if refusal:
                self.records.append(source.record("refused", refusal))
            else:
                self._contribute(source, module)
        except (Exception, SystemExit) as error:
            detail = f"{type(error).__name__}: {error}"
            self.records.append(source.record("failed", detail, trace=traceback.format_exc()))

    def _contribute(self, source: Source, module: ModuleType) -> None:
        """Call the plugin's hooks; either all its contributions are recorded or none."""
        _reject_unknown_hooks(module)
        self._manager.register(module, name=f"{source.distribution}:{source.name}")
        try:
            records: list[Record] = []
            for hook, (kind, cls) in KINDS.items():
                for contribution in _call(module, hook, cls):
                    records.append(self._record(source, kind, contribution, [*self.records, *records]))
        except BaseException:
            self._manager.unregister(module)
            raise
        self.records += records

    def _record(self, source: Source, kind: str, contribution: Any, earlier: list[Record]) -> Record:
        status, detail, score, trace = "ok", "", 0, ""
        taken = next((r for r in earlier if (r.kind, r.name) == (kind, contribution.name)), None)
        if taken is not None:
            status, detail = "refused", f"the name is taken by {taken.distribution} {taken.version}"
        elif kind == "backend":
            status, detail, score, trace = _probe(contribution)
        return Record(
            contribution.name, kind, source.distribution, source.version, status, detail, contribution, trace, score
        )


@functools.cache
def host() -> Host:
    """The plugins of this process, discovered on first use."""
    return Host()


def _refusal(module: ModuleType) -> str:
    """Why this module's API version cannot be served; empty if it can."""
    ours = hookspecs.API
    declared = getattr(module, "REALIZAR_API", None)
    if declared is None:
        return f"REALIZAR_API is missing; expected REALIZAR_API = {ours} in {module.__name__}"
    if not (isinstance(declared, tuple) and len(declared) == 2 and all(isinstance(n, int) for n in declared)):
        return f"REALIZAR_API is {declared!r}; expected two integers such as {ours}"
    if declared[0] != ours[0]:
        return f"written for API {declared[0]}.{declared[1]}; this host speaks {ours[0]}.{ours[1]}"
    if declared[1] > ours[1]:
        return f"needs API {declared[0]}.{declared[1]}; this host speaks {ours[0]}.{ours[1]}: upgrade realizar-core"
    return ""


def _reject_unknown_hooks(module: ModuleType) -> None:
    for name, value in vars(module).items():
        if getattr(value, f"{GROUP}_impl", None) and name not in KINDS:
            raise PluginError(f"unknown hook {name!r}; known: {', '.join(KINDS)}")


def _call(module: ModuleType, hook: str, cls: type) -> list[Any]:
    """What one hook of one plugin contributes, each checked."""
    implementation = getattr(module, hook, None)
    if implementation is None:
        return []
    if not getattr(implementation, f"{GROUP}_impl", None):
        raise PluginError(f"{hook} is not marked with @realizar.hookimpl")
    contributions = list(implementation())
    for contribution in contributions:
        fits = isinstance(contribution, type) and issubclass(contribution, cls) if cls is Backend else None
        if not (isinstance(contribution, cls) if fits is None else fits):
            expected = f"a subclass of {cls.__name__}" if cls is Backend else f"an instance of {cls.__name__}"
            raise PluginError(f"{hook} gave {contribution!r}; expected {expected}")
        if not isinstance(getattr(contribution, "name", None), str):
            raise PluginError(f"{hook} gave {contribution!r}, which has no `name`")
        if not isinstance(contribution.priority, int):
            raise PluginError(f"{hook}: {contribution.name!r} has priority {contribution.priority!r}; expected an int")
    return contributions


def _probe(backend: type[Backend]) -> tuple[str, str, int, str]:
    """(status, detail, score, traceback) of a backend."""
    try:
        availability = backend.probe()
        status = "ok" if availability.score > 0 else "unavailable"
        return status, availability.detail, availability.score, ""
    except (Exception, SystemExit) as error:
        return "failed", f"probe: {type(error).__name__}: {error}", 0, traceback.format_exc()
