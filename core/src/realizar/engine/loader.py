"""From a model's name to weights on a backend."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.architectures.rope import for_texts_of
from realizar.backend import Backend, BackendOptions, Buffer
from realizar.engine.sizes import memory_plan
from realizar.errors import FormatError, ModelError, PluginError
from realizar.graph import Graph
from realizar.model import ModelConfig, ModelFile
from realizar.parity import prove_parity
from realizar.prepacked import data_of
from realizar.progress import Progress, silent
from realizar.selection import build_graph, choose_backend, open_model
from realizar.store import resolve
from realizar.trace import Tracer

log = logging.getLogger(__name__)


@attrs.frozen
class LoadedModel:
    """A model ready to be planned: graph, weights in the backend's layout, and the file they came from."""

    file: ModelFile
    config: ModelConfig
    graph: Graph
    backend: Backend
    weights: Mapping[str, Buffer]
    kv_type: str
    load_s: float


def open_named(
    model: str | Path, *, model_format: str | None = None, allow_download: bool = False, progress: Progress = silent
) -> ModelFile:
    """The model file that a path or a model's name means; a name is downloaded at first use if allowed."""
    return open_model(resolve(str(model), allow_download=allow_download, progress=progress), model_format)


def load_model(
    model: str | Path, options: BackendOptions, *, backend: str | None = None, model_format: str | None = None,
    allow_download: bool = True, progress: Progress = silent, tracer: Tracer | None = None,
    context: Callable[[ModelConfig], int] = lambda config: config.max_position_embeddings,
) -> LoadedModel:  # fmt: skip
    """Open `model`, build its graph and load every weight the graph reads.

    context: how many tokens a text may have.
    Raises RealizarError for anything wrong with the file, the plugins or the options, MemoryExceeded if the model does
    not fit with one full context, and ParityError if the backend does not compute what the reference does.
    """
    file = open_named(model, model_format=model_format, allow_download=allow_download, progress=progress)
    start = time.perf_counter_ns()
    if file.config is None:
        raise ModelError(f"{file.path}: cannot be run, {file.no_config or 'the file has no model configuration'}")
    if file.config.unknown:
        log.info("%s: keys that are not used: %s", file.path.name, ", ".join(file.config.unknown))
    length = context(file.config)
    graph = build_graph(for_texts_of(file.config, file.tensors, length), file.tensors)
    cls, reason = choose_backend(backend)
    log.info("backend %s (%s)", cls.name, reason)
    kv_type = kv_type_of(cls, graph, options.kv_type)
    if options.deterministic and not cls.batch_invariant:
        raise PluginError(
            f"backend {cls.name!r} gives bits that depend on what is computed beside a request; deterministic needs "
            f"one that does not, such as numba"
        )
    memory_plan(cls, graph, file, kv_type=kv_type, context=length).prove(file.path.name)
    chosen = cls(attrs.evolve(options, kv_type=kv_type), progress)
    chosen.tracer = tracer
    weights = _load_weights(chosen, graph, file, progress)
    if chosen.proves_parity:
        prove_parity(chosen, graph, weights, file.tensors, kv_type)
    for note in chosen.notes():
        log.warning("%s: %s", cls.name, note)
    end = time.perf_counter_ns()
    if tracer is not None:
        tracer.add("load", start, end, model=file.path.name, backend=cls.name)
    return LoadedModel(file, file.config, graph, chosen, weights, kv_type, (end - start) / 1e9)


def kv_type_of(backend: type[Backend], graph: Graph, wanted: str | None) -> str:
    """As wanted, else the backend's default; where nothing is kept from step to step, exact numbers if it has them.

    Raises PluginError for a type that the backend cannot keep.
    """
    default = "F32" if not graph.is_causal and "F32" in backend.kv_types else backend.kv_types[0]
    found = wanted or default
    if found not in backend.kv_types:
        known = ", ".join(backend.kv_types)
        raise PluginError(f"backend {backend.name!r} cannot keep a {found} cache; it can: {known}")
    return found


def _load_weights(backend: Backend, graph: Graph, file: ModelFile, progress: Progress) -> dict[str, Buffer]:
    """Every tensor that the graph reads, one after another: a file's pages are given back once they are loaded."""
    weights = {}
    uses, copies = graph.tensor_ops, _Copies(backend, file)
    backend.reserve([file.tensors[name] for name in uses], copies.names)
    for done, (name, ops) in enumerate(uses.items()):
        progress("loading weights", done, len(uses))
        tensor, data = file.tensors[name], copies.data(name)
        weights[name] = backend.load(tensor, ops) if data is None else backend.load_prepacked(tensor, ops, data)
        copies.release(name)
        tensor.release()
    progress("loading weights", len(uses), len(uses))
    copies.report()
    return weights


class _Copies:
    """The file's copies in the layout of a backend, those that do not fit left out."""

    def __init__(self, backend: Backend, file: ModelFile) -> None:
        self._backend, self._file = backend, file
        self._copies = file.prepacked.get(backend.prepacked_layout or "", {})
        self._unfit: list[str] = []

    @property
    def names(self) -> frozenset[str]:
        """Of the tensors that have a copy."""
        return frozenset(self._copies)

    def data(self, name: str) -> NDArray[np.uint8] | None:
        """The copy of a tensor; None if there is none or it does not fit."""
        tensor = self._file.tensors[name]
        if name not in self._copies:
            return None
        try:
            return data_of(self._copies[name], tensor, self._backend.prepacked_nbytes(tensor))
        except FormatError as error:
            self._unfit.append(str(error))
            return None

    def release(self, name: str) -> None:
        """Give the pages of a copy back."""
        if name in self._copies:
            self._copies[name].release()

    def report(self) -> None:
        """Tell of copies that are of no use, for the file is larger than it need be and loads as if it had none."""
        layout, path = self._backend.prepacked_layout, self._file.path
        again = "make the file anew with: realizar convert SRC DST --prepack"
        if self._unfit:
            log.warning(
                "%s: %d of %d prepacked copies are not used: %s; %s",
                path, len(self._unfit), len(self._copies), self._unfit[0], again,
            )  # fmt: skip
        elif layout is not None and self._file.prepacked and not self._copies:
            others = ", ".join(self._file.prepacked)
            log.warning("%s: prepacked copies (%s) are not used, for this is %s; %s", path, others, layout, again)
