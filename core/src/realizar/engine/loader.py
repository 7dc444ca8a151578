"""From a model's name to weights on a backend."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import attrs

from realizar.backend import Backend, BackendOptions, Buffer
from realizar.errors import ModelError, PluginError
from realizar.graph import Graph
from realizar.model import ModelConfig, ModelFile
from realizar.parity import prove_parity
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
) -> LoadedModel:  # fmt: skip
    """Open `model`, build its graph and load every weight the graph reads.

    Raises RealizarError for anything wrong with the file, the plugins or the options, and ParityError if the backend
    does not compute what the reference does.
    """
    file = open_named(model, model_format=model_format, allow_download=allow_download, progress=progress)
    start = time.perf_counter_ns()
    if file.config is None:
        raise ModelError(f"{file.path}: cannot be run, {file.no_config or 'the file has no model configuration'}")
    if file.config.unknown:
        log.info("%s: keys that are not used: %s", file.path.name, ", ".join(file.config.unknown))
    graph = build_graph(file.config, file.tensors)
    cls, reason = choose_backend(backend)
    log.info("backend %s (%s)", cls.name, reason)
    kv_type = options.kv_type or _kv_type(cls, graph)
    if kv_type not in cls.kv_types:
        raise PluginError(f"backend {cls.name!r} cannot keep a {kv_type} cache; it can: {', '.join(cls.kv_types)}")
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


def _kv_type(backend: type[Backend], graph: Graph) -> str:
    """The backend's default; where nothing is kept from step to step, exact numbers if it can hold them."""
    return "F32" if not graph.is_causal and "F32" in backend.kv_types else backend.kv_types[0]


def _load_weights(backend: Backend, graph: Graph, file: ModelFile, progress: Progress) -> dict[str, Buffer]:
    """Every tensor that the graph reads, one after another: a file's pages are given back once they are loaded."""
    weights = {}
    uses = graph.tensor_ops
    backend.reserve([file.tensors[name] for name in uses])
    for done, (name, ops) in enumerate(uses.items()):
        progress("loading weights", done, len(uses))
        weights[name] = backend.load(file.tensors[name], ops)
        file.tensors[name].release()
    progress("loading weights", len(uses), len(uses))
    return weights
